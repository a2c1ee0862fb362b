"""The API is killed between recording a job and publishing it: the job is done all the same, and once."""

import json
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract import keys
from contract.job import decode
from tests.agent.proxy import Proxy, proxying
from tests.api.serving import OUTPUTS, Running, environ, served
from tests.conftest import Aws, eventually

CONTENT = {"prompt": "ü" * 150_000}  # travels by reference: its content must not be lost either


# The places where it may die, from the first to the last: the call of AWS, by its action and the end of its path, and
# whether AWS still gets it.
PLACES = {
    "before it is recorded": ("s3.PUT", "/job.json", False),
    "before it is published": ("sns.Publish", "", False),
    "when it has been published": ("sns.Publish", "", True),
}


def die(place: str, aws: Aws, running: Running, log: Path, body: dict[str, Any]) -> None:
    """Submit a job to an API of its own that is killed at one of the places."""
    action, path, after = PLACES[place]
    with proxying(Proxy(aws.url)) as proxy:
        through = Aws(proxy.url, aws.environ | {"AWS_ENDPOINT_URL": proxy.url})
        with served(through, log, running.topic, RECONCILE_SECONDS="0") as (url, process):

            def kill() -> None:
                process.kill()
                process.wait(30)

            proxy.kill_at(lambda call: call.action == action and call.path.endswith(path), kill, after=after)
            with pytest.raises(httpx.HTTPError):
                httpx.post(f"{url}/v1/jobs", json=body, timeout=60)
            assert process.wait(30) == -signal.SIGKILL, log.read_text()


def outbox(running: Running) -> int:
    count: int = running.s3.list_objects_v2(Bucket=OUTPUTS, Prefix=f"{keys.OUTBOX}/")["KeyCount"]
    return count


def reconcile(aws: Aws, running: Running) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "api", "reconcile"],
        env=environ(aws, running.topic, RECONCILE_GRACE_SECONDS="0"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("place", PLACES)
def test_a_job_whose_api_was_killed_is_published_by_reconciliation(
    place: str, running: Running, aws: Aws, tmp_path: Path
) -> None:
    job_id = place.replace(" ", "-")
    die(place, aws, running, tmp_path / "api.log", {"id": job_id, "runtime": "tiny", "input": CONTENT})
    assert outbox(running) == 1
    before = [decode(body, "tiny") for body in running.receive("tiny", seconds=0)]
    assert len(before) == (place == "when it has been published")

    said = json.loads(reconcile(aws, running))
    assert (said["message"], said["published"]) == ("reconciled", 1)
    [job] = [decode(body, "tiny") for body in running.receive("tiny", seconds=5)]
    assert (job.id, job.key) == (job_id, job_id)
    assert [each.digest for each in before] in ([], [job.digest]), "agents see that it is the same job, and do it once"
    assert job.content_ref
    assert json.loads(running.s3.get_object(Bucket=OUTPUTS, Key=job.content_ref)["Body"].read()) == CONTENT
    state = httpx.get(f"{running.url}/v1/jobs/{job_id}").json()
    assert (state["status"], datetime.fromisoformat(state["created_at"])) == ("queued", job.created_at)
    assert job_id in [each["id"] for each in httpx.get(f"{running.url}/v1/jobs").json()["jobs"]]

    assert outbox(running) == 0
    assert reconcile(aws, running) == ""
    assert running.receive("tiny", seconds=0) == []


def test_a_server_reconciles_what_another_has_left(running: Running, aws: Aws, tmp_path: Path) -> None:
    die("before it is published", aws, running, tmp_path / "dying.log", {"runtime": "tiny", "input": {"prompt": "x"}})
    settings = {"RECONCILE_SECONDS": "0.2", "RECONCILE_GRACE_SECONDS": "0"}
    with served(aws, tmp_path / "api.log", running.topic, **settings):
        [body] = running.receive("tiny")
        eventually(lambda: outbox(running) == 0, "the note being struck out")
    assert decode(body, "tiny").content == {"prompt": "x"}
    assert running.receive("tiny", seconds=0) == []


def test_a_job_whose_api_was_killed_is_published_by_repeating_its_request(
    running: Running, aws: Aws, tmp_path: Path
) -> None:
    body = {"id": "repeated", "runtime": "tiny", "input": CONTENT}
    die("before it is published", aws, running, tmp_path / "api.log", body)
    answer = httpx.post(f"{running.url}/v1/jobs", json=body)
    assert answer.status_code == 202
    [message] = running.receive("tiny")
    assert decode(message, "tiny").id == "repeated"
    eventually(lambda: outbox(running) == 0, "the note being struck out")
    assert reconcile(aws, running) == ""
    assert running.receive("tiny", seconds=0) == []


def test_requests_in_flight_are_left_alone(running: Running, aws: Aws) -> None:
    """Nothing is reconciled within the grace: whoever wrote the note is still at work."""
    note = {"key": "young", "document": {"digest": "0" * 64, "message": {}, "created_at": ""}, "content": {}}
    place = keys.outbox("young", "0" * 12)
    running.s3.put_object(Bucket=OUTPUTS, Key=place, Body=json.dumps(note).encode())
    done = subprocess.run(
        [sys.executable, "-m", "api", "reconcile"],
        env=environ(aws, running.topic),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ""
    assert outbox(running) == 1
    running.s3.delete_object(Bucket=OUTPUTS, Key=place)
