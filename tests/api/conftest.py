import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from fastapi import FastAPI
from moto import mock_aws

from api.app import create_app
from api.aws import Clients, connect
from api.settings import Settings
from contract import keys
from contract.job import Job, decode
from tests.api import serving
from tests.conftest import Aws

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

RUNTIMES: list[dict[str, Any]] = [
    {"name": "tiny", "type": "sdwebui", "model": "tiny.safetensors"},
    {"name": "any", "type": "sdwebui", "dynamic": True},
    {"name": "flow", "type": "comfyui"},
]
BUCKET = "outputs-of-tests"
CONFIG_BUCKET = "config-of-tests"
ACCOUNT_ID = "123456789012"  # moto's


class Client:
    """Asks an application without a server between."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def request(self, method: str, path: str, **asked: Any) -> httpx.Response:
        async def answer() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://darkroom.test") as client:
                return await client.request(method, path, **asked)

        return asyncio.run(answer())

    def get(self, path: str, **asked: Any) -> httpx.Response:
        return self.request("GET", path, **asked)

    def post(self, path: str, **asked: Any) -> httpx.Response:
        return self.request("POST", path, **asked)


@dataclass
class Platform:
    """The API on an AWS in memory: a topic, a queue per runtime, two buckets."""

    api: Client
    aws: Clients
    sqs: "SQSClient"
    settings: Settings
    queues: dict[str, str]

    def messages(self, runtime: str) -> list[str]:
        """Take the messages out of a runtime's queue."""
        found = self.sqs.receive_message(QueueUrl=self.queues[runtime], MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            self.sqs.delete_message(QueueUrl=self.queues[runtime], ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in found]

    def delivered(self) -> dict[str, list[Job]]:
        """Take all jobs out of all queues, as agents do; runtimes without any are left out."""
        jobs = {name: [decode(body, name) for body in self.messages(name)] for name in self.queues}
        return {name: found for name, found in jobs.items() if found}

    def put(self, key: str, name: str, document: object) -> None:
        """Write into a job's record, as an agent does."""
        self.aws.s3.put_object(Bucket=BUCKET, Key=keys.record(key, name), Body=json.dumps(document).encode())

    def get(self, key: str, name: str) -> Any:
        return json.loads(self.aws.s3.get_object(Bucket=BUCKET, Key=keys.record(key, name))["Body"].read())

    def publish_runtimes(self, runtimes: object) -> None:
        self.aws.s3.put_object(Bucket=CONFIG_BUCKET, Key=keys.RUNTIMES, Body=json.dumps(runtimes).encode())


def _isolate(patch: pytest.MonkeyPatch) -> None:
    """Nobody's own settings leak in."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    _isolate(monkeypatch)


@pytest.fixture(scope="session")
def clients() -> tuple[Clients, "SQSClient"]:
    """Clients take a while to make; moto gives each test an empty AWS behind them all the same."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        _isolate(patch)
        return connect(), boto3.client("sqs")


@pytest.fixture
def platform(clients: tuple[Clients, "SQSClient"]) -> Iterator[Platform]:
    with mock_aws():
        aws, sqs = clients
        for bucket in (BUCKET, CONFIG_BUCKET):
            aws.s3.create_bucket(Bucket=bucket)
        topic = aws.sns.create_topic(Name="input")["TopicArn"]
        queues = {runtime["name"]: _queue(aws, sqs, topic, runtime["name"]) for runtime in RUNTIMES}
        settings = Settings(
            sns_topic_arn=topic,
            s3_output_bucket=BUCKET,
            runtimes_bucket=CONFIG_BUCKET,
            runtimes_refresh_seconds=0,
            max_body_bytes=1_000_000,
        )
        api = Client(create_app(settings, aws))
        platform = Platform(api, aws, sqs, settings, queues)
        platform.publish_runtimes(RUNTIMES)
        yield platform


def _queue(aws: Clients, sqs: "SQSClient", topic: str, runtime: str) -> str:
    url = sqs.create_queue(QueueName=runtime)["QueueUrl"]
    aws.sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT_ID}:{runtime}",
        Attributes={"FilterPolicy": json.dumps({"runtime": [runtime]})},
    )
    return url


@pytest.fixture(scope="session")
def running(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Running]:
    s3, sqs, sns = (aws.client(service) for service in ("s3", "sqs", "sns"))
    for bucket in (serving.OUTPUTS, serving.CONFIG):
        s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=serving.CONFIG, Key=keys.RUNTIMES, Body=json.dumps(serving.RUNTIMES).encode())
    topic = sns.create_topic(Name="api-input")["TopicArn"]
    queues = {}
    for runtime in ("tiny", "flow"):
        queues[runtime] = sqs.create_queue(QueueName=f"api-{runtime}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queues[runtime], AttributeNames=["QueueArn"])
        policy = {"FilterPolicy": json.dumps({"runtime": [runtime]})}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"], Attributes=policy)
    with serving.served(aws, tmp_path_factory.mktemp("api") / "api.log", topic) as (url, _):
        yield serving.Running(url, topic, s3, sqs, queues)
