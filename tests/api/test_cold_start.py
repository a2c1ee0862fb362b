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
STEPS = ("import", "build the application", "first request", "second request")

# Each step with the seconds it took, and those of the processor: the same on a busy machine.
PROGRAM = """
import json, sys, time
marks = []
def mark():
    marks.append((time.perf_counter(), time.process_time()))
mark()
import api.aws_lambda
mark()
api.aws_lambda.adapter()
mark()
statuses = []
for event in json.loads(sys.argv[1]):
    statuses.append(api.aws_lambda.handler(event, None)["statusCode"])
    mark()
print(json.dumps([statuses, [[b - a for a, b in zip(*pair)] for pair in zip(marks, marks[1:])]]))
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
    rounds: list[list[list[float]]] = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(events)]
        ended = subprocess.run(command, cwd=repository, env=environ, capture_output=True, text=True, check=True)
        answer: Any = json.loads(ended.stdout.splitlines()[-1])
        assert answer[0] == [202, 202]
        rounds.append(answer[1])
    print(f"\ncold start of the function, median of {ROUNDS}, on the clock and of the processor:")  # noqa: T201
    for name, steps in zip(STEPS, zip(*rounds, strict=True), strict=True):
        clock, cpu = (statistics.median(step[kind] for step in steps) * 1000 for kind in (0, 1))
        print(f"  {name}: {clock:.0f} ms, {cpu:.0f} ms")  # noqa: T201
