"""The API is killed between recording a job and publishing it: the job is done all the same, and once."""

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from contract import keys
from contract.job import decode
from tests.api.serving import OUTPUTS, Running, environ, served
from tests.conftest import Aws, eventually

CONTENT = {"prompt": "ü" * 150_000}  # travels by reference: its content must not be lost either


class Narrows:
    """Passes requests on to AWS, until one comes that it is told to hold: that one stays here for good."""

    def __init__(self, upstream: str) -> None:
        self.held = threading.Event()
        self._hold: tuple[str, bytes] | None = None
        self._forward_held = False
        host = urlsplit(upstream).netloc
        narrows = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                holds = narrows.holds(self.command, self.path, body)
                if holds and not narrows.forwards:
                    narrows.held.set()
                    self.close_connection = True
                    threading.Event().wait(30)
                    return
                connection = http.client.HTTPConnection(host, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                found = answer.read()
                connection.close()
                if holds:
                    narrows.held.set()
                    self.close_connection = True
                    threading.Event().wait(30)
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"transfer-encoding", "connection", "content-length", "date", "server"}:
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(found))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(found)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815 - as the standard library calls them

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def hold(self, method: str, text: bytes, *, after: bool) -> None:
        """Hold the request of a method with a text in its path or body; with `after` only its answer."""
        self._hold = (method, text)
        self._forward_held = after

    @property
    def forwards(self) -> bool:
        return self._forward_held

    def holds(self, method: str, path: str, body: bytes) -> bool:
        return (
            self._hold is not None and method == self._hold[0] and self._hold[1] in path.encode() + b" " + body[:2000]
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def narrows(aws: Aws) -> Iterator[Narrows]:
    made = Narrows(aws.url)
    yield made
    made.close()


def die(narrows: Narrows, aws: Aws, running: Running, log: Path, body: dict[str, Any]) -> None:
    """Submit a job to an API of its own that is killed where `narrows` holds it."""
    through = Aws(narrows.url, aws.environ | {"AWS_ENDPOINT_URL": narrows.url})
    with served(through, log, running.topic, RECONCILE_SECONDS="0") as (url, process):

        def submit() -> None:
            with pytest.raises(httpx.HTTPError):
                httpx.post(f"{url}/v1/jobs", json=body, timeout=60)

        client = threading.Thread(target=submit)
        client.start()
        assert narrows.held.wait(60), log.read_text()
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        client.join(60)
        assert not client.is_alive()


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


# The places where it may die, from the first to the last call: what is written there, and whether AWS still gets it.
PLACES = {
    "before it is recorded": ("PUT", b"/job.json", False),
    "before it is published": ("POST", b"Action=Publish", False),
    "when it has been published": ("POST", b"Action=Publish", True),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_job_whose_api_was_killed_is_published_by_reconciliation(
    place: str, narrows: Narrows, running: Running, aws: Aws, tmp_path: Path
) -> None:
    method, text, after = PLACES[place]
    narrows.hold(method, text, after=after)
    job_id = place.replace(" ", "-")
    die(narrows, aws, running, tmp_path / "api.log", {"id": job_id, "runtime": "tiny", "input": CONTENT})
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


def test_a_server_reconciles_what_another_has_left(
    narrows: Narrows, running: Running, aws: Aws, tmp_path: Path
) -> None:
    narrows.hold("POST", b"Action=Publish", after=False)
    die(narrows, aws, running, tmp_path / "dying.log", {"runtime": "tiny", "input": {"prompt": "x"}})
    settings = {"RECONCILE_SECONDS": "0.2", "RECONCILE_GRACE_SECONDS": "0"}
    with served(aws, tmp_path / "api.log", running.topic, **settings):
        [body] = running.receive("tiny")
        eventually(lambda: outbox(running) == 0, "the note being struck out")
    assert decode(body, "tiny").content == {"prompt": "x"}
    assert running.receive("tiny", seconds=0) == []


def test_a_job_whose_api_was_killed_is_published_by_repeating_its_request(
    narrows: Narrows, running: Running, aws: Aws, tmp_path: Path
) -> None:
    narrows.hold("POST", b"Action=Publish", after=False)
    body = {"id": "repeated", "runtime": "tiny", "input": CONTENT}
    die(narrows, aws, running, tmp_path / "api.log", body)
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
