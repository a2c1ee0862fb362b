"""How fast the API is on one core, and how much of that is not AWS's: printed by `make bench`.

API and emulator have a core each, as far as the machine has two. Each request is measured in turn with the bare AWS
calls that it makes, by the same library with the same settings, so that whatever else runs here slows both alike.
What is ours is told as time and as the processor's time. Others who want the processor only ever add to that (they
empty its caches), so it is that of the best of many short stretches, as `timeit` does it. Either must be small enough:
the first can only be told on a machine that has time for both, the second also on a busy one.
"""

import http.client
import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.aws import connect
from contract import keys
from tests.api.serving import OUTPUTS, Running, served
from tests.conftest import Aws

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

STRETCHES = 50
ROUNDS_A_STRETCH = 5
# Calls beforehand: connections, caches.
WARMING = 30
CLIENTS = 8
CONTENT = {"prompt": "a red circle on a blue background", "steps": 20, "width": 512, "height": 512}
OWN_SHARE_MS = 2.0


class Caller:
    """Asks the API over one connection, with as little work of its own as possible."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        read = answer.read()
        assert answer.status < 300, read


def say(text: str) -> None:
    print(text)  # noqa: T201


def took_ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def of(times: list[float], percent: int) -> float:
    return quantiles(times, n=100)[percent - 1]


@contextmanager
def pinned(aws: Aws, log: Path, running: Running) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run an API on one core, and everything else here on another."""
    cores = sorted(os.sched_getaffinity(0))
    with served(aws, log, running.topic, RECONCILE_SECONDS="0") as (url, process):
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        try:
            yield url, process
        finally:
            os.sched_setaffinity(0, set(cores))


def test_submit_and_status(running: Running, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    clients = connect()
    beside = ThreadPoolExecutor(max_workers=4)
    numbers = itertools.count()
    record = json.dumps({"message": {"metadata": {}, "content": CONTENT}, "digest": "0" * 64}).encode()

    def put(key: str, body: bytes = record, **more: Any) -> None:
        clients.s3.put_object(Bucket=OUTPUTS, Key=key, Body=body, **more)

    def get(key: str) -> None:
        clients.s3.get_object(Bucket=OUTPUTS, Key=key)["Body"].read()

    def publish() -> None:
        attributes: Any = {"runtime": {"DataType": "String", "StringValue": "nobody"}}
        clients.sns.publish(TopicArn=running.topic, Message=record.decode(), MessageAttributes=attributes)

    def bare_submit() -> None:
        job_id = f"bare-{next(numbers)}"
        # The note before is struck out here: the API does that when its client has the answer.
        beside.submit(clients.s3.delete_object, Bucket=OUTPUTS, Key=f"outbox/{job_id}")
        put(f"outbox/{job_id}")
        put(keys.record(job_id, keys.JOB), IfNoneMatch="*")
        listed = beside.submit(put, keys.index(datetime.now(UTC), job_id), b"")
        publish()
        listed.result()

    def bare_again() -> None:
        # Nothing in the record has changed, so that nothing is read again.
        clients.s3.list_objects_v2(Bucket=OUTPUTS, Prefix="jobs/done/")

    def bare_status() -> None:
        bare_again()
        read = beside.submit(get, "jobs/done/result.json")
        get("jobs/done/job.json")
        read.result()

    metadata = {"id": "old", "runtime": "tiny", "tasktype": "text-to-image"}
    legacy = {"task": {"metadata": metadata, "content": CONTENT}}
    job = {"runtime": "tiny", "input": CONTENT}

    def submit_done(job_id: str) -> None:
        ask = Caller(url)
        ask("POST", "/v1/jobs", job | {"id": job_id})
        ask.close()
        end = {"id": job_id, "key": job_id, "runtime": "tiny", "status": "succeeded"}
        images = [f"s3://{OUTPUTS}/output/{job_id}/{job_id}-1.png"]
        told = end | {"finished_at": "2026-11-24T12:00:00Z", "images": images}
        put(keys.record(job_id, keys.RESULT), json.dumps(told).encode())

    unseen = itertools.count()
    cases: dict[str, tuple[Callable[[Caller], None], Callable[[], None]]] = {
        "POST /v1alpha2": (lambda ask: ask("POST", "/v1alpha2", legacy), publish),
        "POST /v1/jobs": (lambda ask: ask("POST", "/v1/jobs", job), bare_submit),
        "GET /v1/jobs/{id}": (lambda ask: ask("GET", f"/v1/jobs/unseen-{next(unseen)}"), bare_status),
        "…the same again": (lambda ask: ask("GET", "/v1/jobs/done"), bare_again),
    }
    with pinned(aws, tmp_path / "api.log", running) as (url, process):
        ask = Caller(url)
        looks = WARMING + 2 * STRETCHES * ROUNDS_A_STRETCH
        list(beside.map(submit_done, ["done", *(f"unseen-{number}" for number in range(looks))]))
        say(f"\n{'ms':20}{'p50':>8}{'p99':>8}{'bare p50':>10}{'own p50':>9}{'cpu':>8}{'bare cpu':>10}{'own cpu':>9}")
        own: dict[str, float] = {}
        for name, (call, bare) in cases.items():
            for _ in range(WARMING):
                call(ask)
                bare()
            ours, theirs, cpu, bare_cpu = [], [], [], []
            for _ in range(STRETCHES):
                began_ms = cpu_ms_of(process.pid)
                ours += [took_ms(lambda call=call: call(ask)) for _ in range(ROUNDS_A_STRETCH)]  # type: ignore[misc]
                cpu.append((cpu_ms_of(process.pid) - began_ms) / ROUNDS_A_STRETCH)
                began_s = time.process_time()
                theirs += [took_ms(bare) for _ in range(ROUNDS_A_STRETCH)]
                bare_cpu.append((time.process_time() - began_s) * 1000 / ROUNDS_A_STRETCH)
            own_ms, own_cpu_ms = of(ours, 50) - of(theirs, 50), min(cpu) - min(bare_cpu)
            own[name] = min(own_ms, own_cpu_ms)
            say(
                f"{name:20}{of(ours, 50):8.2f}{of(ours, 99):8.2f}{of(theirs, 50):10.2f}"
                f"{own_ms:9.2f}{min(cpu):8.2f}{min(bare_cpu):10.2f}{own_cpu_ms:9.2f}"
            )
        for name, (call, _) in cases.items():
            say(f"{name:20}{per_second(url, call):8.0f} requests/s from {CLIENTS} clients")
        say(f"memory, at its highest: {peak_mib(process.pid):.0f} MiB")
        ask.close()
    beside.shutdown()
    assert {name: share for name, share in own.items() if share >= OWN_SHARE_MS} == {}


def per_second(url: str, call: Callable[[Caller], None]) -> float:
    """Return how many requests a second are answered to several clients at a time."""

    rounds = STRETCHES * ROUNDS_A_STRETCH // CLIENTS

    def ask_on(_: int) -> None:
        ask = Caller(url)
        for _ in range(rounds):
            call(ask)
        ask.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask_on, range(CLIENTS)))
    return rounds * CLIENTS / (time.perf_counter() - began)


def cpu_ms_of(pid: int) -> float:
    """Return the processor time that a process has used, in milliseconds, to the nanosecond."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e6  # clock_getcpuclockid(3), which Python does not have


def peak_mib(pid: int) -> float:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
