"""How well the agent keeps a GPU busy, and what that costs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Spawn, Stage
from tests.conftest import REPOSITORY, Aws, eventually

AWS_DELAY_S = 0.03
PICTURE_BYTES = 1_400_000


@contextmanager
def program(module: str, *arguments: str) -> Iterator[str]:
    """Run a module that prints its URL."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout
            yield running.stdout.readline().strip()
        finally:
            running.kill()


def report(text: str) -> None:
    print(f"\n{text}")  # noqa: T201 - what `make bench` is for


def send(stage: Stage, count: int) -> None:
    for first in range(0, count, 10):
        entries = [
            {
                "Id": str(n),
                "MessageBody": encode(Job(f"j{n}", RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p"}, form=Form.V1)),
            }
            for n in range(first, min(first + 10, count))
        ]
        stage.sqs.send_message_batch(QueueUrl=stage.queue_url, Entries=entries)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("service_s", "jobs", "busy", "idle_ms"), [(1.0, 40, 0.99, 5), (0.2, 150, 0.95, 5)], ids=["1 s", "0.2 s"]
)
def test_gpu_is_kept_busy(
    aws: Aws, stage: Stage, spawn: Spawn, service_s: float, jobs: int, busy: float, idle_ms: float
) -> None:
    with (
        program("tests.agent.proxy", aws.url, str(AWS_DELAY_S)) as far,
        program("tests.agent.gpu", str(service_s), "0", str(PICTURE_BYTES)) as gpu,
    ):
        send(stage, jobs)
        agent = spawn(
            aws_endpoint_url=far, api_base_url=gpu, sd_model_checkpoint="a.safetensors", visibility_timeout_seconds=60
        )
        spans = eventually_drawn(gpu, 1)
        began_cpu, began = cpu_s(agent.popen.pid), time.monotonic()
        spans = eventually_drawn(gpu, jobs)
        spent_s, took_s = cpu_s(agent.popen.pid) - began_cpu, time.monotonic() - began
        eventually(stage.empty, "the last job")
        gaps = [after[0] - before[1] for before, after in pairwise(spans)]
        share = sum(end - start for start, end in spans) / (spans[-1][1] - spans[0][0])
        idle = 1000 * sum(gaps) / len(gaps)
        report(
            f"{service_s:g} s a picture of {PICTURE_BYTES / 1e6:g} MB, {1000 * AWS_DELAY_S:g} ms a call of AWS,"
            f" {jobs} jobs: GPU busy {100 * share:.1f} %, idle {idle:.1f} ms a job"
            f" (median {1000 * sorted(gaps)[len(gaps) // 2]:.1f}, longest {1000 * max(gaps):.0f}),"
            f" agent's CPU {1000 * spent_s / jobs:.0f} ms a job ({100 * spent_s / took_s:.0f} % of a core)"
        )
        assert len(stage.results()) == jobs
        assert share > busy
        assert idle < idle_ms


def eventually_drawn(gpu: str, count: int) -> list[list[float]]:
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline:
        spans: list[list[float]] = requests.get(f"{gpu}/spans", timeout=10).json()["spans"]
        if len(spans) >= count:
            return spans
        time.sleep(0.2)
    raise AssertionError(f"{count} pictures were not drawn")
