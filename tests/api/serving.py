"""The API as a process of its own, on the emulator."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.local.programs import Ports, answers
from tests.conftest import Aws

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

OUTPUTS, CONFIG = "api-outputs", "api-config"
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


def environ(aws: Aws, topic: str, **settings: str) -> dict[str, str]:
    """Return the environment of an API on the emulator."""
    named = {"SNS_TOPIC_ARN": topic, "S3_OUTPUT_BUCKET": OUTPUTS, "RUNTIMES_BUCKET": CONFIG}
    return {"PATH": os.environ["PATH"], **aws.environ, **named, **settings}


@contextmanager
def served(aws: Aws, log: Path, topic: str, **settings: str) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """Run an API until the end, if it has not ended before; give its address and its process."""
    port = Ports().of("api", 0)
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "--port", str(port)],
            env=environ(aws, topic, **settings),
            stdout=output,
            stderr=output,
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
