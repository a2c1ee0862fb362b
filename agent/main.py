"""What the agent is made of, and its life: from the environment's settings to SIGTERM or SIGINT."""

import os
import signal
import sys
import threading
from typing import NoReturn

import boto3
from botocore.config import Config

from agent import health, log
from agent.adapters import adapter
from agent.finish import Finish
from agent.health import Pulse
from agent.inference import INTERRUPT_S, Server
from agent.inputs import Inputs, Limits
from agent.intake import Intake
from agent.lease import Keeper
from agent.metrics import Metrics
from agent.notice import Notices
from agent.pipeline import Pipeline
from agent.pod import KubernetesPod, Marker
from agent.progress import Reporter
from agent.queue import Queue
from agent.settings import Settings, SettingsError, load
from agent.shelf import Shelf
from agent.shutdown import Shutdown
from agent.store import Store
from agent.tracing import tracers
from agent.verdict import Verdicts
from agent.watch import Watcher, Watchers

# More than there are threads for any one service: none waits for another's connection.
CONNECTIONS = 40
# What the last traces are given to be sent, at the end.
TRACES_S = 2.0


def build(settings: Settings, metrics: Metrics, *watchers: Watcher) -> Pipeline:
    """Return the agent for `settings`, ready to run; it is told about in `metrics`, and to the other watchers.

    Raises:
        SettingsError: There is no adapter for the type of the runtime.
    """
    server_adapter = adapter(settings)
    region, endpoint = settings.aws_region, settings.aws_endpoint_url

    def config(read_timeout_s: int = 20, attempts: int = 4) -> Config:
        return Config(
            connect_timeout=5,
            read_timeout=read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=CONNECTIONS,
            # Emulators have one host name for all buckets.
            s3={"addressing_style": "path"} if endpoint else {},
        )

    s3 = boto3.client("s3", region_name=region, endpoint_url=endpoint, config=config())
    sns = boto3.client("sns", region_name=region, endpoint_url=endpoint, config=config())
    poll_config = config(settings.receive_wait_seconds + 15)
    # Renewals are repeated by the keeper, and must not hang for longer than a lease.
    control_config = config(10, attempts=2)
    queue = Queue(
        boto3.client("sqs", region_name=region, endpoint_url=endpoint, config=poll_config),
        boto3.client("sqs", region_name=region, endpoint_url=endpoint, config=control_config),
        settings.sqs_queue_url,
        visibility_s=settings.visibility_timeout_seconds,
        wait_s=settings.receive_wait_seconds,
    )
    watch = Watchers([metrics, *watchers])
    pulse = Pulse()
    shutdown = Shutdown(settings.drain_seconds, settings.finish_seconds)
    keeper = Keeper(queue, on_lost=lambda _: metrics.leases_lost.inc())
    store = Store(s3, settings.s3_bucket)
    notices = Notices(sns, settings.sns_topic_arn)
    inputs = Inputs(
        s3,
        Limits(
            buckets=settings.allowed_input_buckets | {settings.s3_bucket},
            own_bucket=settings.s3_bucket,
            hosts=settings.allowed_input_hosts,
            max_bytes=settings.max_input_bytes,
            timeout_s=settings.input_timeout_seconds,
            allow_private=settings.allow_private_inputs,
        ),
        metrics.input_bytes.inc,
    )
    pipeline = Pipeline(
        settings=settings,
        queue=queue,
        keeper=keeper,
        intake=Intake(
            settings.runtime_name,
            server_adapter,
            inputs,
            store,
            keeper,
            grace_s=INTERRUPT_S + settings.finish_seconds + settings.visibility_timeout_seconds,
        ),
        server=Server(
            server_adapter,
            timeout_s=settings.job_timeout_seconds,
            beat=lambda: pipeline.beat("inference"),
        ),
        finish=Finish(
            settings.runtime_name,
            server_adapter,
            store,
            notices,
            keeper,
            watch,
            patience_s=settings.finish_seconds,
            latest=lambda: shutdown.end,
        ),
        reporter=Reporter(server_adapter, store, notices if settings.exp_callback_when_running else None),
        shelf=Shelf(settings.affinity_seconds),
        verdicts=Verdicts(settings.max_receive_count, settings.retry_seconds),
        watch=watch,
        pulse=pulse,
        shutdown=shutdown,
    )
    metrics.held.set_function(lambda: len(keeper))
    metrics.ready.set_function(pipeline.ready)
    metrics.build.info(
        {"version": settings.darkroom_version, "runtime": settings.runtime_name, "runtime_type": settings.runtime_type}
    )
    return pipeline


def _on_signal(shutdown: Shutdown) -> None:
    """Request the shutdown on the first SIGTERM or SIGINT, exit at once on the second."""
    signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked for all threads and waited for in one: nothing is interrupted wherever it happens to be.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        signal.sigwait(signals)
        shutdown.request()
        os._exit(128 + signal.sigwait(signals))

    threading.Thread(target=wait, name="signals", daemon=True).start()


def main() -> int:
    """Run the agent; return the exit status: 0 after a drain, 1 when a thread died, 2 for a wrong environment."""
    try:
        settings = load()
        metrics = Metrics()
        traces = tracers(settings)
        pipeline = build(settings, metrics, *traces)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    log.configure(settings.loglevel)

    _on_signal(pipeline.shutdown)
    if settings.health_port:
        health.serve(
            settings.health_host,
            settings.health_port,
            pulse=pipeline.pulse,
            ready=pipeline.ready,
            registry=metrics.registry,
        )
    for tracer in traces:
        tracer.start()
    if settings.pod_name and settings.pod_namespace:
        name, namespace = settings.pod_name, settings.pod_namespace
        marker = Marker(lambda: KubernetesPod(name, namespace), lambda: len(pipeline.keeper) > 0)
        marker.start(pipeline.shutdown.requested)
    well = pipeline.run()
    for tracer in traces:
        tracer.close(TRACES_S)
    return 0 if well else 1


def run() -> NoReturn:
    """Run the agent, and end the process with its exit status."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python's own exit waits for the threads of pools, and so for downloads and uploads that were left behind.
    os._exit(status)
