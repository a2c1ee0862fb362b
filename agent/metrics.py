"""What Prometheus is told."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from agent.errors import JobError
from agent.watch import Watcher
from agent.work import Work
from contract.result import Result

# From a tiny model's tenth of a second to a long video's hour.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Gpu(Collector):
    """For how long the GPU has been busy and idle, up to the moment when it is asked. Thread-safe.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds = {True: 0.0, False: 0.0}
        self._busy = False
        self._since = clock()

    def turn(self, busy: bool) -> None:
        """Note that the GPU is busy, or idle, from now on."""
        with self._lock:
            self._account(busy)

    def seconds(self, busy: bool) -> float:
        """Return for how long it has been busy, or idle."""
        with self._lock:
            self._account(self._busy)
            return self._seconds[busy]

    def _account(self, busy: bool) -> None:
        now = self._clock()
        self._seconds[self._busy] += now - self._since
        self._busy, self._since = busy, now

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return both times, as Prometheus asks for them."""
        for busy, name, meaning in ((True, "busy", "with a job"), (False, "idle", "without one")):
            yield CounterMetricFamily(
                f"darkroom_agent_gpu_{name}_seconds", f"Time of the GPU {meaning}.", self.seconds(busy)
            )


class Metrics(Watcher):
    """The agent's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.build = Info("darkroom_agent_build", "What runs here.", registry=registry)
        self.gpu = Gpu()
        registry.register(self.gpu)
        ProcessCollector(registry=registry)

        self.jobs = Counter("darkroom_agent_jobs", "Jobs that ended here.", ["task", "status"], registry=registry)
        self.job_seconds = Histogram(
            "darkroom_agent_job_seconds",
            "Time from a job's submission until its client was told of its end.",
            ["status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.step_seconds = Histogram(
            "darkroom_agent_step_seconds",
            "Time a job spent in a step: queue, fetch, inference, store.",
            ["step"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.input_bytes = Counter("darkroom_agent_input_bytes", "Bytes of jobs' inputs.", registry=registry)
        self.images = Counter("darkroom_agent_images", "Pictures stored.", registry=registry)
        self.model_switches = Counter(
            "darkroom_agent_model_switches", "Jobs that needed another model than the job before.", registry=registry
        )
        self.messages = Counter("darkroom_agent_messages", "Messages received.", registry=registry)
        self.retries = Counter(
            "darkroom_agent_retries", "Messages received that had been received before.", registry=registry
        )
        self.released_total = Counter(
            "darkroom_agent_released",
            "Messages given back to the queue, by the code of the reason.",
            ["code"],
            registry=registry,
        )
        self.leases_lost = Counter(
            "darkroom_agent_leases_lost", "Messages whose visibility could not be kept.", registry=registry
        )
        self.held = Gauge("darkroom_agent_messages_held", "Messages between receive and delete.", registry=registry)
        self.busy = Gauge("darkroom_agent_busy", "1 while a job is on the GPU.", registry=registry)
        self.ready = Gauge("darkroom_agent_ready", "1 while jobs are received.", registry=registry)
        self._loaded: str | None = None

    @override
    def received(self, work: Work) -> None:
        """Count the message."""
        self.messages.inc()
        if work.lease.delivery.attempt > 1:
            self.retries.inc()

    @override
    def started(self, work: Work) -> None:
        """Note that the GPU is busy, and whether with another model."""
        self.busy.set(1)
        self.gpu.turn(busy=True)
        if work.affinity:
            if self._loaded and work.affinity != self._loaded:
                self.model_switches.inc()
            self._loaded = work.affinity

    @override
    def inferred(self, work: Work, error: JobError | None) -> None:
        """Note that the GPU is free."""
        self.busy.set(0)
        self.gpu.turn(busy=False)

    @override
    def ended(self, work: Work, result: Result) -> None:
        """Count the job, and what it took, if it ended here and now."""
        self.jobs.labels(result.task or "none", result.status).inc()
        if work.result is not None:
            return
        self.images.inc(len(result.images))
        for step, seconds in work.timings.items():
            self.step_seconds.labels(step).observe(seconds)
        if since := result.created_at or work.lease.delivery.sent_at:
            took_s = (datetime.now(UTC) - since).total_seconds()
            self.job_seconds.labels(result.status).observe(max(took_s, 0))

    @override
    def released(self, work: Work, reason: JobError, given_back: bool) -> None:
        """Count the message, if it is back in the queue."""
        if given_back:
            self.released_total.labels(reason.code).inc()
