"""Webhooks as they are really delivered: `python -m api.webhooks` as a process, fed by the output topic."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.webhooks import wiring
from api.webhooks.__main__ import main
from contract import keys
from tests.api.receiver import SECRET, receiving
from tests.conftest import Aws, eventually

BUCKET = "webhook-outputs"


@contextmanager
def deliverer(environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "api.webhooks"], env=environ, stdout=output, stderr=output)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def topic(aws: Aws) -> str:
    """The output topic."""
    return str(aws.client("sns").create_topic(Name="webhook-output")["TopicArn"])


@pytest.fixture
def environ(aws: Aws, topic: str) -> dict[str, str]:
    aws.client("s3").create_bucket(Bucket=BUCKET)
    sqs, sns = aws.client("sqs"), aws.client("sns")
    # Whoever dies while it delivers is followed by another soon.
    queue = sqs.create_queue(QueueName="webhooks", Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"FilterPolicy": json.dumps({"webhook": ["true"]})}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=policy)
    return {
        "PATH": os.environ["PATH"],
        **aws.environ,
        "S3_OUTPUT_BUCKET": BUCKET,
        "WEBHOOK_QUEUE_URL": queue,
        "WEBHOOK_SECRETS": SECRET,
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "WEBHOOK_WAIT_SECONDS": "1",
    }


def end(aws: Aws, topic: str, job_id: str, webhook: str | None) -> None:
    """End a job as an agent does: write its result, then publish the notice."""
    metadata: dict[str, Any] = {
        "id": job_id,
        "runtime": "tiny",
        "tasktype": "text-to-image",
        "prefix": "output",
        "context": {},
        "form": "v1",
        "created_at": "2026-11-24T12:00:00+00:00",
        "webhook": webhook,
    }
    result = {
        "id": job_id,
        "key": job_id,
        "runtime": "tiny",
        "status": "succeeded",
        "output_url": keys.url(BUCKET, f"output/{job_id}/{job_id}.out"),
        "finished_at": "2026-11-24T12:00:09Z",
    }
    for name, document in ((keys.JOB, {"message": {"metadata": metadata}}), (keys.RESULT, result)):
        key = keys.record(job_id, name)
        aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document).encode())
    attributes = {"key": job_id, "status": "completed"} | ({"webhook": "true"} if webhook else {})
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    aws.client("sns").publish(TopicArn=topic, Message="{}", MessageAttributes=typed)


def test_a_deliverer_that_dies_loses_nothing_and_its_receiver_sees_the_same_id_twice(
    aws: Aws, topic: str, environ: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "webhooks.log"
    with receiving() as receiver:
        receiver.hold = threading.Event()
        with deliverer(environ, log) as first:
            end(aws, topic, "silent", None)
            end(aws, topic, "mine", receiver.url)
            eventually(lambda: receiver.got, "the first delivery")
            first.kill()
            first.wait()
        receiver.hold.set()
        with deliverer(environ, log) as second:
            record = keys.record("mine", keys.WEBHOOK)

            def delivered() -> bool:
                found = aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=record)
                return bool(found.get("Contents"))

            eventually(delivered, "the second delivery")
            second.send_signal(signal.SIGTERM)
            assert second.wait(timeout=30) == 0
        # On a busy machine the first one may have tried twice before it died.
        assert len(receiver.got) >= 2
        assert len(set(receiver.ids)) == 1
        assert {told["data"]["id"] for told in receiver.verified()} == {"mine"}
    noted = json.loads(aws.client("s3").get_object(Bucket=BUCKET, Key=record)["Body"].read())
    assert noted["status"] == "delivered"
    assert noted["attempts"] >= 2
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["message"] == "webhook delivered"
    assert "swordfish" not in log.read_text(), "the receiver's URL is nobody's business"


@pytest.mark.parametrize(
    ("removed", "added", "problem"),
    [
        ("WEBHOOK_SECRETS", {}, "set one of WEBHOOK_SECRETS, WEBHOOK_SECRETS_FILE and WEBHOOK_SECRET_ID"),
        ("WEBHOOK_QUEUE_URL", {}, "WEBHOOK_QUEUE_URL: Field required"),
        ("WEBHOOK_SECRETS", {"WEBHOOK_SECRETS": "whsec_swordfish"}, "signing secret 1 is not 24 to 64 bytes in base64"),
        ("WEBHOOK_SECRETS", {"WEBHOOK_SECRETS_FILE": "/nowhere"}, "No such file or directory: '/nowhere'"),
    ],
)
def test_without_its_settings_it_says_which_and_does_not_start(
    removed: str,
    added: dict[str, str],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"S3_OUTPUT_BUCKET": "x", "WEBHOOK_QUEUE_URL": "x"}
    given |= {"WEBHOOK_SECRETS": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    given.pop(removed)
    monkeypatch.delenv(removed, raising=False)
    for name, value in (given | added).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["webhooks"])
    monkeypatch.setattr("api.log.configure", lambda: None)
    wiring.worker.cache_clear()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert problem in told
    assert "swordfish" not in told
