"""A job as it travels: every publisher's messages are understood, and nothing from outside can do harm."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.job import Form, InvalidJobError, Job, Task, build, decode, encode

SEED_MESSAGE = {
    "prompt": "a red circle",
    "steps": 16,
    "alwayson_scripts": {
        "task": "text-to-image",
        "sd_model_checkpoint": "v1-5-pruned-emaonly.safetensors",
        "id_task": "21123",
        "uid": "456",
        "save_dir": "outputs",
    },
    "s3_output_path": "bucket/21123",
}
HEAD_MESSAGE: dict[str, Any] = {
    "metadata": {
        "id": "test-t2i",
        "runtime": "sdruntime",
        "tasktype": "text-to-image",
        "prefix": "output",
        "context": {"userId": 123},
    },
    "content": {"prompt": "a red circle"},
}


def enveloped(message: object) -> str:
    return json.dumps({"Type": "Notification", "MessageId": "1", "Message": json.dumps(message)})


@pytest.mark.parametrize("wrap", [json.dumps, enveloped], ids=["delivered raw", "in an SNS envelope"])
def test_a_message_of_the_first_version_becomes_a_job(wrap: Callable[[object], str]) -> None:
    job = decode(wrap(SEED_MESSAGE), "sdruntime")
    assert (job.id, job.runtime, job.task, job.form) == ("21123", "sdruntime", Task.TEXT_TO_IMAGE, Form.SEED)
    assert job.model == "v1-5-pruned-emaonly.safetensors"
    assert job.folder == "21123"
    assert job.document_key == "21123/response.out"
    assert "s3_output_path" not in job.content


@pytest.mark.parametrize("wrap", [json.dumps, enveloped], ids=["delivered raw", "in an SNS envelope"])
def test_a_message_of_the_second_version_becomes_a_job(wrap: Callable[[object], str]) -> None:
    job = decode(wrap(HEAD_MESSAGE), "other")
    assert (job.id, job.runtime, job.form) == ("test-t2i", "sdruntime", Form.V1ALPHA2)
    assert job.context == {"userId": 123}
    assert job.folder == "output/test-t2i"
    rand = job.digest[:4]
    assert job.image_key(2, ".png") == f"output/test-t2i/test-t2i-{rand}-2.png"
    assert job.document_key == f"output/test-t2i/test-t2i-{rand}.out"


def test_the_legacy_form_of_the_second_version_runs_on_the_runtime_of_its_queue() -> None:
    message = {"metadata": HEAD_MESSAGE["metadata"] | {"runtime": "legacy"}, "content": {}}
    assert decode(json.dumps(message), "sdruntime").runtime == "sdruntime"


def test_what_the_api_publishes_is_what_the_agent_reads() -> None:
    job = Job(
        id="a",
        runtime="tiny",
        task=Task.IMAGE_TO_IMAGE,
        content={"prompt": "é ☃"},
        prefix="x/y",
        context=[1],
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        content_ref="jobs/a/content.json",
    )
    assert decode(encode(job), "other") == job


def test_in_the_old_forms_every_publication_is_a_job_and_every_delivery_of_it_the_same_job() -> None:
    once, again = (
        json.dumps({"Type": "Notification", "MessageId": n, "Message": json.dumps(HEAD_MESSAGE)}) for n in "12"
    )
    keys = [decode(body, "r", delivery).key for body, delivery in ((once, "a"), (again, "b"), (once, "c"))]
    assert keys[0] == keys[2] != keys[1]
    assert keys[0].startswith("test-t2i~")
    raw = json.dumps(HEAD_MESSAGE)
    assert decode(raw, "r", "a").key == decode(raw, "r", "a").key != decode(raw, "r", "b").key


def test_a_request_of_v1_is_the_same_job_however_often_it_is_published() -> None:
    job = Job(id="a", runtime="r", task=Task.PIPELINE, content={})
    assert decode(encode(job), "r", "1").digest == decode(encode(job), "r", "2").digest
    assert decode(encode(job), "r", "1").key == "a"


@pytest.mark.parametrize("job_id", ["user 1", "用户", "a:b@c", "{guid}", "50%", "a~b"])
def test_clients_of_the_guidance_keep_the_ids_they_use(job_id: str) -> None:
    job = decode(json.dumps(HEAD_MESSAGE | {"metadata": HEAD_MESSAGE["metadata"] | {"id": job_id}}), "r")
    assert job.folder == f"output/{job_id}"
    assert job.key.count("~") == 1
    assert unquote(job.key.split("~")[0]) == job_id


def test_an_id_of_v1_is_the_name_of_its_record() -> None:
    assert build(id="a", runtime="r", task="pipeline", content={}, prefix="", context=None, form="v1").key == "a"


def test_numbers_serve_as_ids_and_runtimes_are_found_in_any_case() -> None:
    job = build(
        id=7, runtime="SdRuntime", task="extra-batch-image", content={}, prefix="/a//b/", context=None, form="v1"
    )
    assert (job.id, job.runtime, job.task, job.prefix) == ("7", "sdruntime", Task.EXTRA_BATCH_IMAGES, "a/b")


NESTED: list[Any] = []
for _ in range(101):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "../x"}, "the id must be"),
        ({"id": ".."}, "the id must be"),
        ({"id": "a\\b"}, "the id must be"),
        ({"id": "a\n"}, "the id must be"),
        ({"id": "\ud800", "content_ref": "jobs/x/content.json"}, "the id must be"),
        ({"id": "a b", "form": "v1"}, "the id must be 1 to 128 letters"),
        ({"context": float("inf")}, "the context holds a number that is not finite"),
        ({"context": "\ud800"}, "the context holds half a character"),
        ({"context": NESTED}, "the context nests more than 100 levels deep"),
        ({"id": ""}, "the id must be"),
        ({"id": "a" * 129}, "the id must be"),
        ({"id": True}, "the id must be"),
        ({"prefix": "a/../b"}, "the prefix must be"),
        ({"prefix": "jobs/x"}, "the prefix must be"),
        ({"prefix": "a\x00"}, "the prefix must be"),
        ({"prefix": "a\\b"}, "the prefix must be"),
        ({"prefix": "\ud800"}, "the prefix must be"),
        ({"prefix": None}, "the prefix must be"),
        ({"tasktype": "paint"}, "the task must be one of text-to-image"),
        ({"tasktype": None}, "the task must be one of"),
        ({"form": "v9"}, "the form must be one of"),
        ({"created_at": "yesterday"}, "`created_at` is not"),
        ({"expires_at": "0001-01-01T00:00:00+23:00"}, "`expires_at` is not"),
        ({"deadline": 7}, "`deadline` is not"),
        ({"webhook": "file:///etc/passwd"}, "the webhook must be"),
        ({"webhook": "https://a\n"}, "the webhook must be"),
        ({"prefix": "index/x"}, "the prefix must be"),
        ({"prefix": "uploads"}, "the prefix must be"),
        ({"content_ref": "jobs/other/content.json"}, "`content_ref` must point"),
        ({"content_ref": "jobs/test-t2i/result.json"}, "`content_ref` must point"),
    ],
)
def test_a_job_that_could_do_harm_is_refused_with_the_reason(change: dict[str, Any], problem: str) -> None:
    message = {"metadata": HEAD_MESSAGE["metadata"] | change, "content": {}}
    with pytest.raises(InvalidJobError, match=problem):
        decode(json.dumps(message), "r")


@pytest.mark.parametrize(
    ("job_id", "prefix", "problem"),
    [
        ("猫" * 128, "", "S3 keys of 1184 bytes: 1024 are allowed"),
        ("jobs", "", "the id must not be `index`, `jobs`, `outbox`, `uploads`"),
    ],
)
def test_what_does_not_fit_into_the_bucket_is_refused(job_id: str, prefix: str, problem: str) -> None:
    message = {"metadata": HEAD_MESSAGE["metadata"] | {"id": job_id, "prefix": prefix}, "content": {}}
    with pytest.raises(InvalidJobError, match=problem):
        decode(json.dumps(message), "r")


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidJobError) as raised:
        decode('{"metadata": {"id": "/", "tasktype": 1, "prefix": "..", "form": []}, "content": 1}', "r")
    assert len(raised.value.problems) == 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
near_messages = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                [
                    *("id", "runtime", "tasktype", "prefix", "context", "form", "created_at", "content_ref"),
                    *("expires_at", "deadline", "webhook"),
                ],
                json_values,
            ),
        )
    },
    optional={"content": json_values},
) | st.fixed_dictionaries({"alwayson_scripts": st.dictionaries(st.sampled_from(["task", "id_task"]), json_values)})


@given(st.one_of(st.text(), json_values.map(json.dumps), near_messages.map(json.dumps), near_messages.map(enveloped)))
def test_whatever_arrives_becomes_a_job_or_a_named_problem_and_never_anything_else(body: str) -> None:
    try:
        job = decode(body, "runtime")
    except InvalidJobError:
        return
    assert "/" not in job.key
    assert ".." not in job.folder.split("/")
    assert encode(decode(encode(job), "runtime")) == encode(job)
