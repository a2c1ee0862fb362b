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


def send(stage: Stage, count: int, first: int = 0) -> None:
    for start in range(first, first + count, 10):
        entries = [
            {
                "Id": str(n),
                "MessageBody": encode(Job(f"j{n}", RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p"}, form=Form.V1)),
            }
            for n in range(start, min(start + 10, first + count))
        ]
        stage.sqs.send_message_batch(QueueUrl=stage.queue_url, Entries=entries)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int, of: str = "VmRSS") -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status[of].split()[0]) / 1024


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


@pytest.mark.bench
@pytest.mark.timeout(2400)
def test_memory_is_flat_over_many_jobs(stage: Stage, spawn: Spawn) -> None:
    jobs, step = 10_000, 1_000
    with program("tests.agent.gpu", "0", "0", "1000") as gpu:
        agent = spawn(api_base_url=gpu, sd_model_checkpoint="a.safetensors", visibility_timeout_seconds=60, prefetch=4)
        samples = []
        began = time.monotonic()
        for sent in range(step, jobs + step, step):
            send(stage, step, first=sent - step)
            eventually_drawn(gpu, sent)
            samples.append(rss_mib(agent.popen.pid))
        took_s = time.monotonic() - began
        report(
            f"{jobs} jobs, {jobs / took_s:.0f} a second, {1000 * cpu_s(agent.popen.pid) / jobs:.0f} ms of CPU each;"
            f" MiB after each {step}: {', '.join(f'{sample:.0f}' for sample in samples)}"
        )
        assert max(samples[2:]) - samples[1] < 8


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_peak_memory_is_bounded_by_the_settings_when_aws_is_slow(aws: Aws, stage: Stage, spawn: Spawn) -> None:
    picture, jobs = 16_000_000, 12
    answer_mib = picture * 4 / 3 / 2**20
    with (
        program("tests.agent.proxy", aws.url, "1") as slow,
        program("tests.agent.gpu", "0.1", "0", str(picture)) as gpu,
    ):
        agent = spawn(aws_endpoint_url=slow, api_base_url=gpu, sd_model_checkpoint="a.safetensors", finishers=2)
        eventually(lambda: agent.logged("inference server ready"), "the start")
        base = rss_mib(agent.popen.pid)
        send(stage, jobs)
        eventually_drawn(gpu, jobs)
        eventually(stage.empty, "the last job")
        peak = rss_mib(agent.popen.pid, "VmHWM") - base
        report(f"answers of {answer_mib:.0f} MiB, 2 finishers, 1 s a call of AWS: {peak:.0f} MiB more than idle")
        # One answer is being read and one waits; each finisher has, for a moment, an answer, its text and its picture.
        assert peak < answer_mib * (2 + 1 + 2 * 3) + 16
