"""The API as it really runs: `python -m api` as a process, and an emulator that speaks AWS's protocols over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bootstrap.local.programs import Ports, answers
from contract import keys
from contract.job import decode, encode
from contract.result import Result
from tests.conftest import Aws

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

OUTPUTS, CONFIG = "api-outputs", "api-config"
SECRET = "swordfish"
RUNTIMES = [
    {"name": "tiny", "type": "sdwebui", "model": "tiny.safetensors"},
    {"name": "flow", "type": "comfyui"},
]


@dataclass
class Running:
    """A running API and what is behind it."""

    url: str
    topic: str
    s3: "S3Client"
    sqs: "SQSClient"
    queues: dict[str, str]

    def receive(self, runtime: str, seconds: int = 10) -> list[str]:
        found = self.sqs.receive_message(QueueUrl=self.queues[runtime], WaitTimeSeconds=seconds, MaxNumberOfMessages=10)
        for message in found.get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.queues[runtime], ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in found.get("Messages", [])]


@contextmanager
def served(aws: Aws, log: Path, topic: str) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """Run an API until the end, if it has not ended before; give its address and its process."""
    port = Ports().of("api", 0)
    url = f"http://127.0.0.1:{port}"
    environ = {"PATH": os.environ["PATH"], "SNS_TOPIC_ARN": topic, **aws.environ}
    environ |= {"S3_OUTPUT_BUCKET": OUTPUTS, "RUNTIMES_BUCKET": CONFIG}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "--port", str(port)], env=environ, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while not answers(f"{url}/healthz"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield url, process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def running(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    s3, sqs, sns = (aws.client(service) for service in ("s3", "sqs", "sns"))
    for bucket in (OUTPUTS, CONFIG):
        s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=CONFIG, Key=keys.RUNTIMES, Body=json.dumps(RUNTIMES).encode())
    topic = sns.create_topic(Name="api-input")["TopicArn"]
    queues = {}
    for runtime in ("tiny", "flow"):
        queues[runtime] = sqs.create_queue(QueueName=f"api-{runtime}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queues[runtime], AttributeNames=["QueueArn"])
        policy = {"FilterPolicy": json.dumps({"runtime": [runtime]})}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"], Attributes=policy)
    with served(aws, tmp_path_factory.mktemp("api") / "api.log", topic) as (url, _):
        yield Running(url, topic, s3, sqs, queues)


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
