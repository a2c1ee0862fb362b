"""The client from Python: what it repeats, and what its errors say."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from client import ApiError, Client, RefusedError, UnreachableError
from tests.agent.conftest import serving

ACCEPTED = {
    "id": "x",
    "runtime": "tiny",
    "output_location": "s3://b/output/x",
    "created_at": "2026-11-24T12:00:00Z",
    "links": {"self": "/v1/jobs/x"},
}
SHORT = {"Retry-After": "0"}


class Api:
    """An API that gives the answers it is told to, in order; status 0 is none at all."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            api.asked.append((self.path, dict(self.headers), body))
            status, document, headers = api.answers.pop(0)
            if not status:
                self.close_connection = True
                return
            data = json.dumps(document).encode() if not isinstance(document, bytes) else document
            self.send_response(status)
            for name, value in (
                {"Content-Type": "application/json", "Content-Length": str(len(data))} | headers
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_DELETE = do_POST  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with serving(Handler) as url:
        api.url = url
        yield api


def test_a_submission_whose_answer_is_lost_is_sent_again_as_it_was(api: Api) -> None:
    api.answers = [
        (0, None, {}),
        (503, {"detail": "busy"}, SHORT),
        (429, {"detail": "slower"}, SHORT),
        (202, ACCEPTED, {}),
    ]
    with Client(api.url, key="secret") as darkroom:
        assert darkroom.submit({"prompt": "a red circle"}, runtime="tiny").id == "x"
    bodies = [body for _, _, body in api.asked]
    assert len(bodies) == 4
    assert bodies == [bodies[0]] * 4
    assert bodies[0]["id"]
    assert {headers["X-API-Key"] for _, headers, _ in api.asked} == {"secret"}


def test_what_stays_busy_is_told_after_a_few_tries(api: Api) -> None:
    api.answers = [(503, {"detail": "no table yet"}, SHORT)] * 4
    with Client(api.url) as darkroom, pytest.raises(ApiError, match="no table yet"):
        darkroom.runtimes()
    assert api.answers == []


def test_a_refusal_has_everything_that_is_wrong_and_is_not_repeated(api: Api) -> None:
    errors = [{"path": "input.steps", "message": "too many"}, {"path": "id", "message": "no id"}]
    api.answers = [(422, {"detail": "…", "errors": errors}, {})]
    with Client(api.url) as darkroom, pytest.raises(RefusedError) as refused:
        darkroom.submit({"steps": 9999})
    assert [str(each) for each in refused.value.violations] == ["input.steps: too many", "id: no id"]


@pytest.mark.parametrize("document", [{"message": "Forbidden"}, {"detail": "Forbidden: send a valid API key"}])
def test_where_a_key_is_wanted_it_says_how_to_give_it(api: Api, document: Any) -> None:
    api.answers = [(403, document, {})]
    with Client(api.url) as darkroom, pytest.raises(ApiError, match=r"DARKROOM_API_KEY.*Forbidden"):
        darkroom.job("x")


def test_the_command_reads_the_key_from_the_environment_and_takes_none_as_an_argument(
    api: Api, repository: Path
) -> None:
    api.answers = [(200, {"runtimes": []}, {})]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(repository), "DARKROOM_API_KEY": "secret"}
    command = [sys.executable, "-m", "client", "runtimes", "--url", api.url]
    done = subprocess.run(command, check=True, env=environ, capture_output=True, text=True)
    assert api.asked[0][1]["X-API-Key"] == "secret"
    assert "secret" not in done.stdout + done.stderr
    refused = subprocess.run([*command, "--key", "secret"], check=False, env=environ, capture_output=True)
    assert refused.returncode == 2


def test_another_server_and_none_at_all_are_named(api: Api) -> None:
    api.answers = [(200, b"<html>", {"Content-Type": "text/html"})]
    with Client(api.url) as darkroom, pytest.raises(ApiError, match="is not the job API"):
        darkroom.runtimes()
    for url, told in (
        ("http://127.0.0.1:1", "http://127.0.0.1:1 cannot be reached"),
        ("darkroom", "no http or https URL"),
    ):
        with Client(url) as darkroom, pytest.raises(UnreachableError, match=told):
            darkroom.runtimes()


def test_only_pictures_and_the_like_are_uploaded(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:1") as darkroom, pytest.raises(Exception, match=r"notes\.txt is no image"):
        darkroom.upload(tmp_path / "notes.txt")
