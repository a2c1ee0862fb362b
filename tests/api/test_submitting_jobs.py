"""`POST /v1/jobs`: what is accepted, recorded and published, and what happens when a request is repeated."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.publisher import ENVELOPE_BYTES, MAX_QUEUED_BYTES, pack
from api.submission import new_id
from contract import keys
from contract.job import Form, Job, Task, decode
from tests.api.conftest import BUCKET, RUNTIMES, Platform

PROMPT = {"prompt": "a red circle"}
PICTURE = {"init_images": ["https://images.example.com/a.png"]}
WORKFLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "Save", "inputs": {"images": ["1", 0]}},
}


def test_a_job_is_accepted_recorded_and_published_to_its_runtime_alone(platform: Platform) -> None:
    body = {"id": "mine", "runtime": "tiny", "input": PROMPT, "context": {"user": 7}, "prefix": "a/b"}
    answer = platform.api.post("/v1/jobs", json=body)
    assert answer.status_code == 202
    assert answer.headers["location"] == "/v1/jobs/mine"
    accepted = answer.json()
    created_at = accepted.pop("created_at")
    assert datetime.fromisoformat(created_at) - datetime.now(UTC) < timedelta(seconds=60)
    assert accepted == {
        "id": "mine",
        "runtime": "tiny",
        "status": "queued",
        "output_location": f"s3://{BUCKET}/a/b/mine",
        "expires_at": None,
        "deadline": None,
        "links": {"self": "/v1/jobs/mine"},
    }
    delivered = platform.delivered()
    assert list(delivered) == ["tiny"]
    [job] = delivered["tiny"]
    assert job.publication, "agents know the publication, which the API does not"
    job = replace(job, publication="")
    assert job == Job(
        id="mine",
        runtime="tiny",
        task=Task.TEXT_TO_IMAGE,
        content=PROMPT,
        prefix="a/b",
        context={"user": 7},
        form=Form.V1,
        created_at=datetime.fromisoformat(created_at),
    )
    recorded = platform.get("mine", keys.JOB)
    assert decode(json.dumps(recorded["message"]), "tiny") == job
    assert recorded.keys() == {"message", "digest", "created_at"}


@pytest.mark.parametrize(
    ("body", "runtime", "task", "content"),
    [
        pytest.param({"runtime": "TINY", "input": PROMPT}, "tiny", Task.TEXT_TO_IMAGE, PROMPT, id="in capitals"),
        pytest.param({"runtime": "flow", "input": WORKFLOW}, "flow", Task.PIPELINE, WORKFLOW, id="a workflow"),
        pytest.param(
            {"model": "tiny.safetensors", "input": PROMPT}, "tiny", Task.TEXT_TO_IMAGE, PROMPT, id="a static model"
        ),
        pytest.param(
            {"model": "xl", "input": PROMPT | {"alwayson_scripts": {"other": 1}}},
            "any",
            Task.TEXT_TO_IMAGE,
            PROMPT | {"alwayson_scripts": {"other": 1, "sd_model_checkpoint": "xl"}},
            id="any other model, which the dynamic runtime must be told",
        ),
        pytest.param(
            {"runtime": "any", "task": "image-to-image", "input": PICTURE},
            "any",
            Task.IMAGE_TO_IMAGE,
            PICTURE,
            id="another task",
        ),
    ],
)
def test_a_job_names_a_runtime_or_a_model(
    platform: Platform, body: dict[str, Any], runtime: str, task: Task, content: dict[str, Any]
) -> None:
    answer = platform.api.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["runtime"]) == (202, runtime)
    delivered = platform.delivered()
    assert list(delivered) == [runtime]
    [job] = delivered[runtime]
    assert (job.task, job.content, job.prefix) == (task, content, "output")


def test_a_job_need_not_name_anything_while_there_is_one_runtime(platform: Platform) -> None:
    assert platform.api.post("/v1/jobs", json={"input": PROMPT}).status_code == 422
    platform.publish_runtimes([{"name": "tiny", "type": "sdwebui", "model": "tiny.safetensors"}])
    assert platform.api.post("/v1/jobs", json={"input": PROMPT}).json()["runtime"] == "tiny"


def test_ids_made_here_sort_by_time() -> None:
    now = datetime.now(UTC)
    ids = [new_id(now + timedelta(milliseconds=step)) for step in range(50)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    assert {len(each) for each in ids} == {26}
    assert new_id(datetime.fromtimestamp(0, UTC)).startswith("0" * 10)
    assert new_id(now) != new_id(now)


def test_a_repeated_request_is_answered_as_the_first_time(platform: Platform) -> None:
    body = {"id": "mine", "runtime": "tiny", "input": PROMPT}
    first = platform.api.post("/v1/jobs", json=body)
    again = platform.api.post("/v1/jobs", json=body)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    [one, other] = platform.delivered()["tiny"]
    assert replace(one, publication="") == replace(other, publication="")
    assert one.publication != other.publication
    assert (one.key, one.digest) == (other.key, other.digest), "agents must be able to tell that it is the same job"


def test_an_idempotency_key_is_as_good_as_an_id(platform: Platform) -> None:
    body = {"runtime": "tiny", "input": PROMPT}
    header = {"Idempotency-Key": "7d9f5a52-6f0e-4a45-93f5-0d3c6f2f8a11"}
    first = platform.api.post("/v1/jobs", json=body, headers=header)
    assert first.json()["id"] == header["Idempotency-Key"]
    assert platform.api.post("/v1/jobs", json=body, headers=header).json() == first.json()


def test_a_repeated_request_is_not_published_again_once_an_agent_has_the_job(platform: Platform) -> None:
    body = {"id": "mine", "runtime": "tiny", "input": PROMPT}
    platform.api.post("/v1/jobs", json=body)
    platform.delivered()
    platform.put("mine", keys.STARTED, {})
    assert platform.api.post("/v1/jobs", json=body).status_code == 202
    assert platform.delivered() == {}


@pytest.mark.parametrize("name", [None, keys.STARTED, keys.RESULT])
@pytest.mark.parametrize(
    "asked", [{"runtime": "tiny"}, {"model": "tiny.safetensors"}], ids=["by runtime", "by model, which another serves"]
)
def test_when_the_runtime_is_gone_a_repeated_request_is_answered_as_the_first_time_only_if_the_job_has_started(
    platform: Platform, asked: dict[str, str], name: str | None
) -> None:
    body = {"id": "mine", "input": PROMPT} | asked
    first = platform.api.post("/v1/jobs", json=body)
    platform.delivered()
    platform.publish_runtimes([each for each in RUNTIMES if each["name"] != "tiny"])
    if name:
        platform.put("mine", name, {})
    again = platform.api.post("/v1/jobs", json=body)
    if name:
        assert (again.status_code, again.json()) == (202, first.json())
    else:
        assert again.status_code == 409
        gone = 'the job "mine" was accepted for the runtime "tiny", which is gone; use another id'
        assert again.json()["errors"] == [{"path": "runtime", "message": gone, "pointer": "#/runtime"}]
    assert platform.delivered() == {}, "nothing is published to where nobody listens"


@pytest.mark.parametrize(
    "now",
    [
        pytest.param({"name": "tiny", "type": "sdwebui", "model": "xl"}, id="it serves another model"),
        pytest.param({"name": "tiny", "type": "comfyui"}, id="it does other tasks"),
    ],
)
@pytest.mark.parametrize("started", [True, False])
def test_what_was_accepted_stays_accepted_when_it_would_be_refused_now(
    platform: Platform, now: dict[str, str], started: bool
) -> None:
    body = {"id": "mine", "model": "tiny.safetensors", "task": "text-to-image", "input": PROMPT, "runtime": "tiny"}
    first = platform.api.post("/v1/jobs", json=body)
    platform.delivered()
    platform.publish_runtimes([now])
    if started:
        platform.put("mine", keys.STARTED, {})
    again = platform.api.post("/v1/jobs", json=body)
    assert (again.status_code, again.json()) == (202, first.json())
    assert list(platform.delivered()) == ([] if started else ["tiny"])
    assert platform.api.post("/v1/jobs", json=body | {"id": "new"}).status_code == 422
    assert platform.api.post("/v1/jobs", json=body | {"context": 1}).status_code == 409


def test_a_refusal_costs_no_look_at_records_without_an_id(platform: Platform) -> None:
    calls: list[str] = []
    platform.aws.s3.meta.events.register("before-call.s3", lambda params, **_: calls.append(params["url_path"]))
    try:
        assert platform.api.post("/v1/jobs", json={"runtime": "nobody", "input": {}}).status_code == 422
        assert calls == [f"/{keys.RUNTIMES}"]
        calls.clear()
        assert platform.api.post("/v1/jobs", json={"runtime": "tiny", "id": "mine", "input": {}}).status_code == 202
        note = calls[1]
        assert note.startswith("/outbox/mine~")
        assert calls[2] == "/jobs/mine/job.json", "and an id costs none as long as it is new"
        assert calls[3].startswith("/index/")
        assert calls[4:] == [note]
    finally:
        platform.aws.s3.meta.events.unregister("before-call.s3")


@pytest.mark.parametrize(
    "change",
    [{"input": {"prompt": "a blue square"}}, {"runtime": "any"}, {"prefix": "x"}, {"context": 1}, {"model": "xl"}],
)
def test_another_request_under_the_same_id_is_a_conflict(platform: Platform, change: dict[str, Any]) -> None:
    body = {"id": "mine", "runtime": "any", "input": PROMPT, "model": "m"}
    if "runtime" in change:
        body["runtime"] = "tiny"
        del body["model"]
    platform.api.post("/v1/jobs", json=body)
    before = platform.get("mine", keys.JOB)
    platform.delivered()
    answer = platform.api.post("/v1/jobs", json=body | change)
    assert (answer.status_code, answer.json()["errors"]) == (
        409,
        [{"path": "id", "message": 'the id "mine" is taken by a different request', "pointer": "#/id"}],
    )
    assert platform.delivered() == {}
    assert platform.get("mine", keys.JOB) == before


def test_a_job_that_was_recorded_but_never_published_is_published_by_repeating_its_request(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The process dies: no code of ours may catch it."""

    def die(**_: Any) -> None:
        raise Killed

    body = {"id": "mine", "runtime": "tiny", "input": {"prompt": "x" * 300_000}}
    with monkeypatch.context() as dying:
        dying.setattr(platform.aws.sns, "publish", die)
        with pytest.raises(Killed):
            platform.api.post("/v1/jobs", json=body)
    recorded = platform.get("mine", keys.JOB)
    assert platform.delivered() == {}
    platform.aws.s3.delete_object(Bucket=BUCKET, Key="jobs/mine/content.json")

    answer = platform.api.post("/v1/jobs", json=body)
    assert answer.status_code == 202
    [message] = platform.messages("tiny")
    assert json.loads(json.loads(message)["Message"]) == recorded["message"]
    assert platform.get("mine", "content.json") == body["input"]


def test_of_two_that_race_for_an_id_one_wins(platform: Platform) -> None:
    answers: list[int] = []
    start = threading.Barrier(4)

    def submit(number: int) -> None:
        start.wait()
        body = {"id": "mine", "runtime": "tiny", "input": {"seed": number}}
        answers.append(platform.api.post("/v1/jobs", json=body).status_code)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202, 409, 409, 409]
    [job] = platform.delivered()["tiny"]
    assert platform.get("mine", keys.JOB)["message"]["content"] == job.content


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1alpha1", "/v1alpha2"])
def test_what_is_too_large_for_a_message_travels_by_reference(platform: Platform, path: str) -> None:
    content: dict[str, Any] = {"prompt": "ü" * 200_000}
    if path == "/v1/jobs":
        body: dict[str, Any] = {"id": "big", "runtime": "tiny", "input": content}
    elif path == "/v1alpha1":
        header = {"task": "text-to-image", "sd_model_checkpoint": "tiny.safetensors", "id_task": "big"}
        body = content = content | {"alwayson_scripts": header}
    else:
        body = {"task": {"metadata": {"id": "big", "runtime": "tiny", "tasktype": "text-to-image"}, "content": content}}
    assert platform.api.post(path, json=body).is_success
    [job] = platform.delivered()["tiny"]
    assert job.content == {}
    assert job.content_ref
    stored = platform.aws.s3.get_object(Bucket=BUCKET, Key=job.content_ref)
    assert json.loads(stored["Body"].read()) == content


@pytest.mark.parametrize("form", Form)
def test_repeating_a_large_request_refers_to_the_same_content_and_another_to_another(form: Form) -> None:
    def big(letter: str) -> Job:
        return Job(id="big", runtime="tiny", task=Task.TEXT_TO_IMAGE, content={"p": letter * 300_000}, form=form)

    one, again, other = (pack(big(letter)) for letter in "aab")
    assert one == again
    assert (one.job.content_ref == other.job.content_ref) is (form is Form.V1)
    assert decode(one.message, "tiny") == one.job
    assert decode(one.message, "tiny").key == one.job.key


def test_the_limit_of_a_message_is_exact() -> None:
    def job(size: int) -> Job:
        return Job(id="a", runtime="tiny", task=Task.TEXT_TO_IMAGE, content={"p": "x" * size})

    room = MAX_QUEUED_BYTES - ENVELOPE_BYTES - len(json.dumps(pack(job(0)).message))
    assert pack(job(room)).job.content_ref is None
    assert pack(job(room + 1)).job.content_ref == "jobs/a/content.json"


@pytest.mark.parametrize("letter", ['"', "\n", "\\", "ü", "😀", "x"])
def test_what_a_queue_gets_fits_however_much_of_it_must_be_escaped(platform: Platform, letter: str) -> None:
    by_reference = []
    for size in (20_000, 120_000, 200_000, 250_000, 255_500):
        body = {"id": f"of-{size}", "runtime": "tiny", "input": {"prompt": letter * (size // len(letter.encode()))}}
        assert platform.api.post("/v1/jobs", json=body).status_code == 202
        [message] = platform.messages("tiny")
        assert len(message.encode()) <= 256 * 1024
        by_reference.append(decode(message, "tiny").content_ref is not None)
    assert by_reference[0] is False
    assert by_reference[-1] is (letter != "x")
