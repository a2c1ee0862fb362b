"""What goes wrong is told as RFC 9457 problems, all of it at once; nothing a client sends is logged."""

import asyncio
import json
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from structlog.testing import capture_logs

from api.app import create_app
from api.runtimes import RoutingTable
from contract import keys
from tests.api.conftest import BUCKET, CONFIG_BUCKET, RUNTIMES, Client, Platform

JOB: dict[str, Any] = {"runtime": "tiny", "input": {"prompt": "a red circle"}}


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    document: dict[str, Any] = answer.json()
    assert (document["type"], document["status"]) == ("about:blank", status)
    return document


def test_everything_that_is_wrong_is_said_at_once(platform: Platform) -> None:
    body = {"id": "a/b", "task": "nap", "prefix": "../x", "runtime": 7, "input": [], "colour": "red"}
    found = problem(platform.api.post("/v1/jobs", json=body, headers={"Idempotency-Key": "a/"}), 422)
    assert {error["path"] for error in found["errors"]} == {
        "id",
        "task",
        "prefix",
        "runtime",
        "input",
        "colour",
        "header.idempotency-key",
    }
    said = {error["path"]: error["message"] for error in found["errors"]}
    assert said["id"] == "the id must be 1 to 128 letters, digits, '.', '_' or '-'"
    assert said["task"].startswith("the task must be one of text-to-image")
    assert all(error["message"] in found["detail"] for error in found["errors"])


def test_a_job_that_nothing_serves_is_refused_with_a_list_for_programs_too(platform: Platform) -> None:
    found = problem(platform.api.post("/v1/jobs", json=JOB | {"runtime": "nobody"}), 422)
    assert found["detail"].startswith('there is no runtime "nobody"; available: tiny')
    assert [each["name"] for each in found["runtimes"]] == ["tiny", "any", "flow"]
    assert platform.delivered() == {}


@pytest.mark.parametrize(
    ("body", "problem_said"),
    [
        (JOB | {"model": "xl"}, 'runtime "tiny" does not serve the model "xl"'),
        (JOB | {"task": "pipeline"}, 'runtime "tiny" does not do "pipeline"'),
        ({"input": {}}, "the job must name a runtime or a model"),
        (
            {"model": "xl", "input": {"alwayson_scripts": 1}},
            "input.alwayson_scripts: Input should be a valid dictionary",
        ),
        ({"runtime": "tiny"}, "input: Field required"),
        (JOB | {"runtime": "\ud800"}, 'there is no runtime "?"'),
        (JOB | {"context": "\ud800"}, "context: holds half a character"),
        (JOB | {"input": {"\ud800": 1}}, "input: holds half a character"),
        (JOB | {"context": "\uffff"}, "the job holds the character U+FFFF, which is no text"),
    ],
)
def test_what_is_wrong_with_a_job(platform: Platform, body: dict[str, Any], problem_said: str) -> None:
    headers = {"Content-Type": "application/json"}
    found = problem(platform.api.post("/v1/jobs", content=json.dumps(body), headers=headers), 422)
    assert found["detail"].startswith(problem_said)
    assert found["errors"]


def test_an_id_that_differs_from_the_idempotency_key_is_refused(platform: Platform) -> None:
    answer = platform.api.post("/v1/jobs", json=JOB | {"id": "a"}, headers={"Idempotency-Key": "b"})
    assert problem(answer, 422)["errors"][0]["path"] == "id"


@pytest.mark.parametrize(
    ("content", "content_type", "status", "detail"),
    [
        ("{", "application/json", 400, "the request body is not JSON: Expecting property name"),
        ("[" * 100_000, "application/json", 400, "There was an error parsing the body"),
        ('{"input": {"a": NaN}}', "application/json", 422, "input: holds a number that is not finite"),
        ('{"input": {"a": [1e999]}}', "application/json", 422, "input: holds a number that is not finite"),
        ('{"input": {}, "context": -1e999}', "application/json", 422, "context: holds a number that is not finite"),
        ('{"input":' + '{"a":' * 100 + "1" + "}" * 101, "application/json", 422, "input: nests more than 100 levels"),
        ('{"input":' + '{"a":' * 900 + "1" + "}" * 901, "application/json", 422, "input: nests more than 100 levels"),
        (
            '{"input":{}, "context":' + "[" * 101 + "]" * 101 + "}",
            "application/json",
            422,
            "context: nests more than 100 levels",
        ),
        (json.dumps(JOB), "application/x-www-form-urlencoded", 415, "send the job as JSON"),
        (json.dumps(JOB), "", 415, "send the job as JSON"),
    ],
)
def test_what_is_no_job_at_all(platform: Platform, content: str, content_type: str, status: int, detail: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    found = problem(platform.api.post("/v1/jobs", content=content, headers=headers), status)
    assert found["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("DELETE", "/v1/runtimes", 405), ("GET", "/v2", 404)],
)
def test_what_is_not_here(platform: Platform, method: str, path: str, status: int) -> None:
    problem(platform.api.request(method, path), status)


@pytest.mark.parametrize("path", ["/v1/jobs", "/", "/v1alpha1", "/v1alpha2"])
def test_a_request_that_is_too_large_is_not_read_to_its_end(platform: Platform, path: str) -> None:
    sent = 0

    async def body() -> Any:
        nonlocal sent
        for _ in range(200):
            sent += 100_000
            yield b"x" * 100_000

    answer = platform.api.post(path, content=body(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    kind = "application/problem+json" if path == "/v1/jobs" else "text/plain; charset=utf-8"
    assert answer.headers["content-type"] == kind
    assert sent <= platform.settings.max_body_bytes + 200_000


def test_a_request_of_exactly_the_limit_is_read(platform: Platform) -> None:
    limit = platform.settings.max_body_bytes
    body = json.dumps(JOB)
    headers = {"Content-Type": "application/json"}
    assert platform.api.post("/v1/jobs", content=body.ljust(limit), headers=headers).status_code == 202
    assert platform.api.post("/v1/jobs", content=body.ljust(limit + 1), headers=headers).status_code == 413


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1alpha2"])
def test_a_request_that_does_not_arrive_in_time_is_given_up(platform: Platform, path: str) -> None:
    async def body() -> Any:
        yield b'{"input": '
        await asyncio.sleep(5)
        yield b"{}}"

    hasty = Client(create_app(platform.settings.model_copy(update={"body_seconds": 0.2}), platform.aws))
    answer = hasty.post(path, content=body(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert "the request was not there after 0.2 s" in answer.text
    assert platform.delivered() == {}


def failing(error: Exception) -> Any:
    def fail(**_: Any) -> None:
        raise error

    return fail


def client_error(code: str, status: int = 400) -> ClientError:
    response = {"Error": {"Code": code, "Message": "secret"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(cast("Any", response), "Publish")


@pytest.mark.parametrize(
    "error",
    [
        client_error("Throttling"),
        client_error("SlowDown", 503),
        client_error("ConditionalRequestConflict", 409),
        client_error("Anything", 500),
        EndpointConnectionError(endpoint_url="https://sns.secret"),
        ReadTimeoutError(endpoint_url="https://sns.secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_while_aws_is_busy_clients_are_asked_to_come_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(platform.aws.sns, "publish", failing(error))
    answer = platform.api.post("/v1/jobs", json=JOB)
    problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert "secret" not in answer.text
    metadata = {"id": "a", "runtime": "tiny", "tasktype": "text-to-image"}
    old = platform.api.post("/v1alpha2", json={"task": {"metadata": metadata, "content": {}}})
    assert (old.status_code, old.headers["retry-after"]) == (503, "5")
    assert old.headers["content-type"].startswith("text/plain")


def test_a_job_that_expires_while_its_request_is_repeated_is_to_be_asked_for_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, taken = platform.aws.s3.put_object, failing(client_error("PreconditionFailed", 412))

    def put(**asked: Any) -> Any:
        return taken() if asked["Key"] == "jobs/mine/job.json" else really(**asked)

    monkeypatch.setattr(platform.aws.s3, "put_object", put)
    answer = platform.api.post("/v1/jobs", json=JOB | {"id": "mine"})
    assert problem(answer, 503)["detail"] == 'the job "mine" is just being removed; try again'
    assert platform.delivered() == {}


@pytest.mark.parametrize("error", [client_error("AuthorizationError", 403), RuntimeError("secret")])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1alpha2"])
def test_a_fault_of_ours_is_told_to_the_log_and_not_to_the_client(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, path: str, error: Exception
) -> None:
    monkeypatch.setattr(platform.aws.sns, "publish", failing(error))
    metadata = {"id": "a", "runtime": "tiny", "tasktype": "text-to-image"}
    body = JOB if path == "/v1/jobs" else {"task": {"metadata": metadata, "content": {}}}
    with capture_logs() as logs:
        found = problem(platform.api.post(path, json=body), 500)
    assert found["detail"] == "something went wrong on our side"
    [failed] = [line for line in logs if line["event"] == "request failed"]
    assert failed["error"] == type(error).__name__
    assert any("publisher.py" in frame for frame in failed["at"])
    assert "secret" not in json.dumps([found, logs])


def test_nothing_that_a_client_sends_is_logged_but_ids(
    platform: Platform, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "swordfish"
    headers = {"x-api-key": secret, "Authorization": secret}
    query = {"key": secret}
    with capture_logs() as logs:
        body = JOB | {"id": "mine", "input": {"prompt": secret}, "context": {"token": secret}}
        assert platform.api.post("/v1/jobs", json=body, headers=headers, params=query).status_code == 202
        platform.api.post("/v1/jobs", json=body | {"task": secret}, headers=headers)
        platform.api.post("/", json={"alwayson_scripts": {"task": secret}}, headers=headers)
        platform.api.get(f"/v1/jobs/{secret}", headers=headers)
        platform.api.get(f"/{secret}", headers=headers)
        platform.put(
            "mine",
            keys.RESULT,
            {
                "id": "mine",
                "key": "mine",
                "runtime": "tiny",
                "status": "succeeded",
                "images": [f"s3://{BUCKET}/output/mine/{secret}.png"],
                "finished_at": "2026-11-24T12:00:00Z",
            },
        )
        assert secret in platform.api.get("/v1/jobs/mine").json()["images"][0]["url"]
    assert [(line["route"], line["status"]) for line in logs if line["event"] == "request"] == [
        ("/v1/jobs", 202),
        ("/v1/jobs", 422),
        ("/", 400),
        ("/v1/jobs/{id}", 404),
        (None, 404),
        ("/v1/jobs/{id}", 200),
    ]
    assert {"event": "job accepted", "log_level": "info", "id": "mine", "runtime": "tiny", "form": "v1"} in logs
    printed = capfd.readouterr()
    assert secret not in json.dumps(logs) + caplog.text + printed.out + printed.err


def test_before_there_is_a_routing_table_nothing_is_accepted(platform: Platform) -> None:
    platform.aws.s3.delete_object(Bucket=CONFIG_BUCKET, Key=keys.RUNTIMES)
    answer = platform.api.post("/v1/jobs", json=JOB)
    assert problem(answer, 503)["detail"] == "the routing table runtimes.json does not exist yet"
    assert answer.headers["retry-after"] == "5"
    header = {"task": "text-to-image", "sd_model_checkpoint": "tiny.safetensors", "id_task": "1"}
    old = platform.api.post("/", json={"alwayson_scripts": header})
    assert (old.status_code, old.text) == (503, "the routing table runtimes.json does not exist yet")
    platform.publish_runtimes(RUNTIMES)
    assert platform.api.post("/v1/jobs", json=JOB).status_code == 202


def test_a_routing_table_that_is_none_is_a_problem(platform: Platform) -> None:
    platform.publish_runtimes([{"name": "tiny", "type": "toaster"}])
    answer = platform.api.get("/v1/runtimes")
    assert problem(answer, 503)["detail"] == "the routing table runtimes.json is not a list of runtimes"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_runtime_is_seen_after_the_refresh_time_and_asked_for_only_then(platform: Platform) -> None:
    calls: list[str] = []
    platform.aws.s3.meta.events.register("before-call.s3.GetObject", lambda **_: calls.append("get"))
    clock = Clock()
    table = RoutingTable(platform.aws, CONFIG_BUCKET, keys.RUNTIMES, 10, clock)
    assert len(table.current()) == 3
    platform.publish_runtimes(RUNTIMES[:1])
    clock.now = 9.9
    assert (len(table.current()), len(calls)) == (3, 1)
    clock.now = 10
    assert (len(table.current()), len(calls)) == (1, 2)
    clock.now = 20
    assert (len(table.current()), len(calls)) == (1, 3), "an unchanged table is asked for by its ETag"


@pytest.mark.parametrize("broken", ["gone", "nonsense", "unreachable"])
def test_a_routing_table_that_cannot_be_refreshed_is_used_as_it_was(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    clock = Clock()
    table = RoutingTable(platform.aws, CONFIG_BUCKET, keys.RUNTIMES, 10, clock)
    before = table.current()
    with monkeypatch.context() as patch, capture_logs() as logs:
        if broken == "gone":
            platform.aws.s3.delete_object(Bucket=CONFIG_BUCKET, Key=keys.RUNTIMES)
        elif broken == "nonsense":
            platform.publish_runtimes({"not": "a list"})
        else:
            patch.setattr(platform.aws.s3, "get_object", failing(EndpointConnectionError(endpoint_url="x")))
        clock.now = 10
        assert table.current() == before
        assert table.current() == before
    assert [line["event"] for line in logs] == ["routing table not refreshed"], "and it is not asked for at once again"
    platform.publish_runtimes(RUNTIMES[:1])
    clock.now = 20
    assert len(table.current()) == 1


def test_the_api_is_healthy_without_aws(platform: Platform) -> None:
    platform.aws.s3.delete_object(Bucket=CONFIG_BUCKET, Key=keys.RUNTIMES)
    assert platform.api.get("/healthz").json() == {"status": "ok"}
