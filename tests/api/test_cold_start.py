"""How long the first request of a new instance of the function waits for us."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contract import keys
from tests.api.test_aws_lambda import event
from tests.conftest import Aws

# Nothing that a request needs, and each would be waited for by the first one.
NOT_NEEDED = ["aws_lambda_powertools", "standardwebhooks", "uvicorn"]
ROUNDS = 7

PROGRAM = """
import json, sys, time
started = time.perf_counter()
import api.aws_lambda
imported = time.perf_counter()
api.aws_lambda.adapter()
built = time.perf_counter()
answers = []
for event in json.loads(sys.argv[1]):
    answers.append((api.aws_lambda.handler(event, None)["statusCode"], time.perf_counter()))
times = [started, imported, built, *(at for _, at in answers)]
print(json.dumps([[status for status, _ in answers], [b - a for a, b in zip(times, times[1:])]]))
"""


def test_what_no_request_needs_is_not_imported(repository: Path) -> None:
    program = "import sys, api.aws_lambda; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True)
    assert sorted(set(NOT_NEEDED) & set(ended.stdout.split())) == []


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_cold_start(aws: Aws, repository: Path) -> None:
    s3, sns = aws.client("s3"), aws.client("sns")
    for bucket in ("cold-outputs", "cold-config"):
        s3.create_bucket(Bucket=bucket)
    table = [{"name": "tiny", "type": "sdwebui", "model": "tiny.safetensors"}]
    s3.put_object(Bucket="cold-config", Key=keys.RUNTIMES, Body=json.dumps(table).encode())
    topic = sns.create_topic(Name="cold-input")["TopicArn"]
    environ = {"PATH": os.environ["PATH"], **aws.environ, "SNS_TOPIC_ARN": topic}
    environ |= {"S3_OUTPUT_BUCKET": "cold-outputs", "RUNTIMES_BUCKET": "cold-config"}
    body = {"runtime": "tiny", "input": {"prompt": "a red circle"}}
    events = [event("POST", "/v1/jobs", body), event("POST", "/v1/jobs", body)]
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(events)]
        ended = subprocess.run(command, cwd=repository, env=environ, capture_output=True, text=True, check=True)
        answer: Any = json.loads(ended.stdout.splitlines()[-1])
        assert answer[0] == [202, 202]
        rounds.append(answer[1])
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    names = ("import", "build the application", "first request", "second request")
    told = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in zip(names, medians, strict=True))
    print(f"\ncold start of the function, median of {ROUNDS}: {told}; in all {sum(medians[:3]) * 1000:.0f} ms")  # noqa: T201
