"""The API as it really runs: `python -m api` as a process, and an emulator that speaks AWS's protocols over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract import keys
from contract.job import decode, encode
from contract.result import Result
from tests.api.serving import OUTPUTS, Running, served
from tests.conftest import Aws

SECRET = "swordfish"


def guidance(job_id: str, runtime: str, tasktype: str) -> dict[str, Any]:
    metadata = {"id": job_id, "runtime": runtime, "tasktype": tasktype, "prefix": "output", "context": {}}
    return {"task": {"metadata": metadata, "content": {"prompt": SECRET}}}


def test_each_job_reaches_the_queue_of_its_runtime_and_no_other(running: Running) -> None:
    header = {"task": "text-to-image", "sd_model_checkpoint": "tiny.safetensors", "id_task": "seed"}
    requests = {
        "/": {"alwayson_scripts": header},
        "/v1alpha1": {"alwayson_scripts": header | {"id_task": "alpha1"}},
        "/v1alpha2": guidance("alpha2", "tiny", "text-to-image"),
        "/v1/jobs": {"id": "v1", "runtime": "tiny", "input": {"prompt": SECRET}},
    }
    for path, body in requests.items():
        assert httpx.post(running.url + path, json=body).is_success
    assert httpx.post(f"{running.url}/v1alpha2", json=guidance("flow", "flow", "pipeline")).status_code == 200
    jobs = {job.id: job for job in (decode(body, "tiny") for body in running.receive("tiny"))}
    assert set(jobs) == {"seed", "alpha1", "alpha2", "v1"}
    assert all(json.loads(encode(job)) for job in jobs.values())
    assert [decode(body, "flow").id for body in running.receive("flow")] == ["flow"]
    assert running.receive("tiny", seconds=0) == []


def test_a_large_job_and_its_pictures_go_through_the_bucket(running: Running) -> None:
    content = {"prompt": "ü" * 300_000}
    answer = httpx.post(f"{running.url}/v1/jobs", json={"id": "big", "runtime": "tiny", "input": content})
    assert answer.status_code == 202
    [body] = running.receive("tiny")
    job = decode(body, "tiny")
    assert job.content_ref
    assert json.loads(running.s3.get_object(Bucket=OUTPUTS, Key=job.content_ref)["Body"].read()) == content
    assert httpx.get(f"{running.url}/v1/jobs/big").json()["status"] == "queued"

    image = job.image_key(1, ".png")
    running.s3.put_object(Bucket=OUTPUTS, Key=image, Body=b"picture")
    url = keys.url(OUTPUTS, image)
    result = Result(
        id=job.id, key=job.key, runtime="tiny", status="succeeded", images=[url], finished_at=job.created_at or 0
    )
    running.s3.put_object(
        Bucket=OUTPUTS,
        Key=keys.record(job.key, keys.RESULT),
        Body=result.model_dump_json().encode(),
    )
    done = httpx.get(f"{running.url}/v1/jobs/big").json()
    assert (done["status"], done["images"][0]["s3"]) == ("succeeded", url)
    assert httpx.get(done["images"][0]["url"]).content == b"picture"
    page = httpx.get(running.url)
    origin = done["images"][0]["url"].split(f"/{OUTPUTS}/")[0]
    assert origin in page.headers["content-security-policy"]


def test_an_id_is_used_once(running: Running) -> None:
    body = {"id": "once", "runtime": "tiny", "input": {}}
    first = httpx.post(f"{running.url}/v1/jobs", json=body)
    assert httpx.post(f"{running.url}/v1/jobs", json=body).json() == first.json()
    assert httpx.post(f"{running.url}/v1/jobs", json=body | {"context": 1}).status_code == 409
    running.receive("tiny")


def test_a_body_over_the_limit_of_lambda_is_refused(running: Running) -> None:
    body = b'{"input": {"a": "' + b"x" * 7_000_000
    answer = httpx.post(f"{running.url}/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_without_its_settings_it_says_which_and_does_not_start() -> None:
    environ = {"PATH": os.environ["PATH"], "SNS_TOPIC_ARN": "arn:aws:sns:us-east-1:1:input"}
    ended = subprocess.run([sys.executable, "-m", "api"], env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: S3_OUTPUT_BUCKET: Field required; RUNTIMES_BUCKET: Field required\n")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "API_KEYS_FILE: {file}: keys: Field required"),
        ({}, "AWS_DEFAULT_REGION: the region is missing"),
    ],
)
def test_with_settings_of_no_use_it_says_which_and_does_not_start(
    settings: dict[str, str], problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    file.write_text("{}")
    named = {"SNS_TOPIC_ARN": "x", "S3_OUTPUT_BUCKET": "x", "RUNTIMES_BUCKET": "x", "API_KEYS_FILE": str(file)}
    environ = {"PATH": os.environ["PATH"], **named, **settings}
    ended = subprocess.run([sys.executable, "-m", "api"], env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.endswith(f"error: {problem.format(file=file)}\n")


def test_whoever_waits_for_a_job_is_answered_when_the_server_stops(running: Running, aws: Aws, tmp_path: Path) -> None:
    httpx.post(f"{running.url}/v1/jobs", json={"id": "waits", "runtime": "tiny", "input": {}})
    running.receive("tiny")
    with (
        served(aws, tmp_path / "api.log", running.topic, RECONCILE_SECONDS="0") as (url, process),
        ThreadPoolExecutor() as pool,
    ):
        asked = pool.submit(httpx.get, f"{url}/v1/jobs/waits", params={"wait": 25}, timeout=60)
        with pytest.raises(TimeoutError):
            asked.result(timeout=1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert asked.result(timeout=30).json()["status"] == "queued"
        process.wait(timeout=30)
        assert time.monotonic() - began < 15


def test_it_logs_json_lines_without_what_clients_sent_and_stops_when_told(
    running: Running, aws: Aws, tmp_path: Path
) -> None:
    log = tmp_path / "api.log"
    with served(aws, log, running.topic) as (url, process):
        httpx.get(f"{url}/v1/jobs/{SECRET}", headers={"x-api-key": SECRET}, params={"key": SECRET})
        httpx.post(f"{url}/v1alpha2", json=guidance("alpha2", "tiny", SECRET))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in {0, -signal.SIGTERM}
    text = log.read_text()
    assert SECRET not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"message", "level", "timestamp"} <= lines[0].keys()
    assert {"method": "GET", "route": "/v1/jobs/{id}", "status": 404}.items() <= lines[-2].items()
