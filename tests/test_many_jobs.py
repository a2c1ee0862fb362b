"""Many jobs at once, from the API to their ends: none is lost and none is drawn twice, with two agents at work."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from contract import keys
from tests.agent.conftest import RUNTIME, Spawn, Stage, WebUI, clients, spawn, stage, webui  # noqa: F401 - fixtures
from tests.api.serving import served
from tests.conftest import Aws, eventually

CLIENTS = 16


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=[pytest.mark.bench, pytest.mark.timeout(600)])])
def test_jobs_that_are_submitted_at_once_all_end_and_none_twice(
    count: int,
    aws: Aws,
    stage: Stage,  # noqa: F811
    spawn: Spawn,  # noqa: F811
    webui: WebUI,  # noqa: F811
    tmp_path: Path,
) -> None:
    table = [{"name": RUNTIME, "type": "sdwebui", "model": "tiny.safetensors", "queueUrl": stage.queue_url}]
    stage.s3.put_object(Bucket=stage.bucket, Key=keys.RUNTIMES, Body=json.dumps(table).encode())
    for _ in range(2):
        spawn(visibility_timeout_seconds=60)
    buckets = {"S3_OUTPUT_BUCKET": stage.bucket, "RUNTIMES_BUCKET": stage.bucket}
    with (
        served(aws, tmp_path / "api.log", stage.input_arn, **buckets) as (url, _),
        httpx.Client(base_url=url, timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as client,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):

        def submit(number: int) -> str:
            body = {"id": f"job-{number}", "runtime": RUNTIME, "input": {"prompt": "p", "seed": number}}
            # Every tenth client loses its answer, and asks again.
            for _ in range(1 + (number % 10 == 0)):
                answer = client.post("/v1/jobs", json=body)
                assert answer.status_code == 202, answer.text
            job_id: str = answer.json()["id"]
            return job_id

        began = time.monotonic()
        ids = list(pool.map(submit, range(count)))
        submitted_s = time.monotonic() - began
        for part in range(50, count + 1, 50):
            eventually(lambda part=part: len(stage.ended()) >= part, f"the end of {part} jobs")  # type: ignore[misc]
        eventually(stage.empty, "the queue being empty")
        ended_s = time.monotonic() - began
        states = list(pool.map(lambda job_id: client.get(f"/v1/jobs/{job_id}").json(), ids))
        listed, cursor = [], ""
        while cursor is not None:
            page = client.get("/v1/jobs", params={"limit": 100, "cursor": cursor}).json()
            listed += [job["id"] for job in page["jobs"]]
            cursor = page["cursor"]

    assert Counter(state["status"] for state in states) == {"succeeded": count}
    assert sorted(state["seeds"][0] for state in states) == list(range(count))
    assert sorted(body["seed"] for body in webui.bodies("txt2img")) == list(range(count)), "each is drawn once"
    assert {notice["id"] for notice in stage.notices()} == set(ids)
    assert sorted(listed) == sorted(ids)
    pictures = [key for key in stage.objects("output/") if key.endswith(".png")]
    assert len(pictures) == count
    print(f"\n{count} jobs: submitted in {submitted_s:.1f} s, all ended after {ended_s:.1f} s")  # noqa: T201
