"""What Prometheus is told of the work."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent.errors import DrainedError
from agent.lease import Lease
from agent.metrics import Gpu, Metrics
from agent.queue import Delivery
from agent.settings import load
from agent.work import Work
from contract.job import Form, Job, Task, encode
from contract.result import Result
from tests.agent.conftest import RUNTIME, Site, Stage, Start, png
from tests.conftest import eventually


def told(metrics: Metrics) -> dict[str, float]:
    """Return all samples, by name and labels as Prometheus writes them."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    samples = [sample for family in families for sample in family.samples]
    return {
        sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): sample.value for sample in samples
    }


def work(attempt: int = 1, affinity: str | None = None, **known: Any) -> Work:
    """Return work on a message that was sent a minute ago."""
    sent_at = datetime.now(UTC) - timedelta(minutes=1)
    lease = Lease(Delivery("m", "", "r", attempt=attempt, sent_at=sent_at), 60, time.monotonic)
    return Work(lease, request=SimpleNamespace(affinity=affinity), **known)


def result(**known: Any) -> Result:
    """Return the end of a job."""
    return Result(id="j", key="j", runtime=RUNTIME, task=Task.TEXT_TO_IMAGE, finished_at=datetime.now(UTC), **known)


def test_gpu_is_busy_or_idle_up_to_the_moment_it_is_asked() -> None:
    now = [100.0]
    gpu = Gpu(lambda: now[0])
    now[0] += 5
    assert (gpu.seconds(busy=True), gpu.seconds(busy=False)) == (0, 5)
    gpu.turn(busy=True)
    now[0] += 20
    assert (gpu.seconds(busy=True), gpu.seconds(busy=False)) == (20, 5), "a job that runs counts already"
    gpu.turn(busy=False)
    now[0] += 1
    assert (gpu.seconds(busy=True), gpu.seconds(busy=False)) == (20, 6)


def test_jobs_are_counted_by_task_and_outcome_and_timed_from_their_submission() -> None:
    metrics = Metrics()
    metrics.ended(work(), result(status="succeeded", images=["s3://b/1", "s3://b/2"]))
    metrics.ended(work(), result(status="failed", created_at=datetime.now(UTC) - timedelta(hours=2)))
    samples = told(metrics)
    assert samples["darkroom_agent_jobs_total status=succeeded task=text-to-image"] == 1
    assert samples["darkroom_agent_jobs_total status=failed task=text-to-image"] == 1
    assert 60 <= samples["darkroom_agent_job_seconds_sum status=succeeded"] < 90
    assert samples["darkroom_agent_job_seconds_sum status=failed"] >= 7200
    assert samples["darkroom_agent_images_total"] == 2


def test_job_that_had_ended_before_is_not_timed_again() -> None:
    metrics = Metrics()
    end = result(status="succeeded", images=["s3://b/1"])
    metrics.ended(work(result=end), end)
    samples = told(metrics)
    assert samples["darkroom_agent_jobs_total status=succeeded task=text-to-image"] == 1
    assert samples["darkroom_agent_images_total"] == 0
    assert "darkroom_agent_job_seconds_count status=succeeded" not in samples


def test_messages_retries_and_releases_are_counted() -> None:
    metrics = Metrics()
    for attempt in (1, 2, 3):
        metrics.received(work(attempt))
    metrics.released(work(), DrainedError(), given_back=True)
    metrics.released(work(), DrainedError(), given_back=False)
    samples = told(metrics)
    assert samples["darkroom_agent_messages_total"] == 3
    assert samples["darkroom_agent_retries_total"] == 2
    assert samples["darkroom_agent_released_total code=drained"] == 1


def test_switch_is_a_job_that_needs_another_model_than_the_job_before() -> None:
    metrics = Metrics()
    for model in ("a", "a", None, "b", "a"):
        metrics.started(work(affinity=model))
        metrics.inferred(work(affinity=model), None)
    assert told(metrics)["darkroom_agent_model_switches_total"] == 2


def test_every_metric_of_a_job_is_there_after_one(stage: Stage, start: Start, site: Site) -> None:
    picture = site.page("/in.png", png(1))
    content = {"prompt": "p", "init_images": [picture]}
    stage.send(encode(Job("j", RUNTIME, Task.IMAGE_TO_IMAGE, content, form=Form.V1)))
    agent = start()
    stage.result()
    samples = eventually(
        lambda: found if "darkroom_agent_job_seconds_count status=succeeded" in (found := told(agent.metrics)) else {},
        "the end of the job",
    )
    assert samples["darkroom_agent_input_bytes_total"] == len(png(1))
    assert samples["darkroom_agent_gpu_busy_seconds_total"] > 0
    assert samples["darkroom_agent_gpu_idle_seconds_total"] > 0
    for step in ("queue", "fetch", "inference", "store"):
        assert samples[f"darkroom_agent_step_seconds_count step={step}"] == 1
    (build,) = [name for name in samples if name.startswith("darkroom_agent_build_info ")]
    assert f"runtime={RUNTIME}" in build
    assert f"version={load().darkroom_version}" in build


def test_readme_tells_every_metric(repository: Any) -> None:
    text = (repository / "agent/README.md").read_text()
    families = text_string_to_metric_families(generate_latest(Metrics().registry).decode())
    own = [
        family for family in families if family.name.startswith("darkroom_") and not family.name.endswith("_created")
    ]
    assert len(own) > 12
    for family in own:
        suffix = "_total" if family.type == "counter" else ""
        assert f"| `{family.name}{suffix}" in text
