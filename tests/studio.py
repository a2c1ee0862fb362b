"""The whole service as clients meet it: the job API and agents as processes on the emulator, and inference servers."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bootstrap.local.programs import Ports, Program, Programs, answers
from contract import keys
from tests.agent.conftest import WebUI
from tests.api.serving import served
from tests.conftest import Aws

# The embedded model draws; the stand-in does what a test wants; nothing serves the workflows, which wait.
TINY, STAND_IN, WORKFLOWS = "tiny", "stand-in", "flow"
MODEL = "tiny-shapes.safetensors"


@dataclass
class Studio:
    """A running service.

    Attributes:
        url: The API's.
        webui: The server of the runtime STAND_IN.
    """

    url: str
    bucket: str
    s3: Any
    webui: WebUI


class _Plumbing:
    """What the compositions make, as small as it works."""

    def __init__(self, aws: Aws) -> None:
        self._sqs, self._sns, self.s3 = aws.client("sqs"), aws.client("sns"), aws.client("s3")
        self.name = f"studio-{uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=self.name)
        rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"]}
        self.s3.put_bucket_cors(Bucket=self.name, CORSConfiguration={"CORSRules": [rule]})
        self.input = self._sns.create_topic(Name=f"{self.name}-input")["TopicArn"]
        self.output = self._sns.create_topic(Name=f"{self.name}-output")["TopicArn"]
        self.table: list[dict[str, Any]] = []

    def runtime(self, name: str, kind: str, model: str | None = None) -> dict[str, str]:
        """Make a runtime's queue, and return its agent's environment."""
        url = self._sqs.create_queue(QueueName=f"{self.name}-{name}")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {"FilterPolicy": json.dumps({"runtime": [name]})}
        self._sns.subscribe(TopicArn=self.input, Protocol="sqs", Endpoint=arn, Attributes=policy)
        self.table.append({"name": name, "type": kind, "queueUrl": url} | ({"model": model} if model else {}))
        self.s3.put_object(Bucket=self.name, Key=keys.RUNTIMES, Body=json.dumps(self.table).encode())
        return {
            "SQS_QUEUE_URL": url,
            "SNS_TOPIC_ARN": self.output,
            "S3_BUCKET": self.name,
            "RUNTIME_NAME": name,
            "RUNTIME_TYPE": kind,
            "SD_MODEL_CHECKPOINT": model or "",
            "VISIBILITY_TIMEOUT_SECONDS": "30",
            "RECEIVE_WAIT_SECONDS": "1",
            "HEALTH_HOST": "127.0.0.1",
        }


@contextmanager
def running(aws: Aws, folder: Path) -> Iterator[Studio]:
    """Run a service until the end; logs go into `folder`."""
    plumbing = _Plumbing(aws)
    webui = WebUI()
    webui.start()
    programs, ports = Programs(folder), Ports()
    environ = {"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1", **aws.environ}

    def start(name: str, command: list[str], settings: dict[str, str], health: str) -> None:
        programs.start(Program(name, [sys.executable, "-m", *command], environ | settings, partial(answers, health)))

    def start_agent(server: str, settings: dict[str, str]) -> None:
        port = ports.of(f"{server}-agent", 0)
        settings |= {"API_BASE_URL": f"{server}/sdapi/v1/", "HEALTH_PORT": str(port)}
        start(f"{settings['RUNTIME_NAME']}-agent", ["agent"], settings, f"http://127.0.0.1:{port}/readyz")

    with ExitStack() as stack:
        stack.callback(webui.stop)
        stack.callback(webui.held.set)
        stack.callback(programs.kill)
        port = ports.of(TINY, 0)
        tiny = f"http://127.0.0.1:{port}"
        command = ["webui.tiny", "--port", str(port)]
        start(TINY, command, {"SD_MODEL_CHECKPOINT": MODEL}, f"{tiny}/sdapi/v1/options")
        start_agent(tiny, plumbing.runtime(TINY, "sdwebui", MODEL))
        start_agent(webui.url, plumbing.runtime(STAND_IN, "sdwebui", "tiny.safetensors"))
        plumbing.runtime(WORKFLOWS, "comfyui")
        buckets = {"S3_OUTPUT_BUCKET": plumbing.name, "RUNTIMES_BUCKET": plumbing.name}
        url, _ = stack.enter_context(served(aws, folder / "api.log", plumbing.input, **buckets))
        for name in (TINY, f"{TINY}-agent", f"{STAND_IN}-agent"):
            programs.wait_ready(name)
        yield Studio(url, plumbing.name, plumbing.s3, webui)


@pytest.fixture(scope="session")
def shared_studio(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A running service that tests share."""
    with running(aws, tmp_path_factory.mktemp("studio")) as studio:
        yield studio


@pytest.fixture
def studio(shared_studio: Studio) -> Iterator[Studio]:
    """A running service, whose stand-in draws at once unless a test holds it."""
    yield shared_studio
    shared_studio.webui.held.set()
    shared_studio.webui.scripted.clear()
