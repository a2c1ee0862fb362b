"""Clients of the guidance send what they always sent, in each of its three forms, and are answered as documented."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.legacy import FORMS, Asked, routed
from api.problem import Problem
from api.publisher import pack
from api.routing import Runtime, UnroutableError
from contract.job import MAX_DEPTH, Form, InvalidJobError, Task, decode
from tests.api.conftest import BUCKET, RUNTIMES, Platform

HEADER = {"task": "text-to-image", "sd_model_checkpoint": "tiny.safetensors", "id_task": "31415"}
TEXT_TO_IMAGE: dict[str, Any] = {
    "alwayson_scripts": {**HEADER, "uid": "456", "save_dir": "outputs"},
    "prompt": "a red circle on a blue background",
    "negative_prompt": "blurry",
    "steps": 16,
    "width": 512,
    "height": 512,
    "seed": -1,
    "sampler_index": "Euler a",
    "override_settings": {"CLIP_stop_at_last_layers": 2},
}
IMAGE_TO_IMAGE: dict[str, Any] = {
    "alwayson_scripts": {
        **HEADER,
        "task": "image-to-image",
        "save_dir": "outputs",
        "image_link": "https://images.example.com/a.png,https://images.example.com/b.png",
        "controlnet": {"args": [{"module": "canny", "image_link": "https://images.example.com/c.png"}]},
    },
    "prompt": "a green square",
    "denoising_strength": 0.75,
}
OTHER_MODEL: dict[str, Any] = {
    "alwayson_scripts": {**HEADER, "sd_model_checkpoint": "xl.safetensors", "save_dir": "outputs"},
    "prompt": "a heart",
}


def task(runtime: str, tasktype: str, content: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        "id": "test-1",
        "runtime": runtime,
        "tasktype": tasktype,
        "prefix": "output",
        "context": {"userId": 123},
    }
    return {"task": {"metadata": metadata, "content": content}}


EXTRAS = {"resize_mode": 0, "upscaling_resize": 4, "upscaler_1": "Lanczos", "image": "https://images.example.com/a.png"}
WORKFLOW = {"3": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["4", 0]}}}


@pytest.mark.parametrize(
    ("payload", "runtime"),
    [
        pytest.param(TEXT_TO_IMAGE, "tiny", id="text to image"),
        pytest.param(IMAGE_TO_IMAGE, "tiny", id="image to image"),
        pytest.param(OTHER_MODEL, "any", id="a model that only the dynamic runtime serves"),
    ],
)
def test_the_first_form(platform: Platform, payload: dict[str, Any], runtime: str) -> None:
    answer = platform.api.post("/", json=payload)
    scripts = payload["alwayson_scripts"]
    assert answer.status_code == 200
    assert answer.json() == {
        "id_task": "31415",
        "task": scripts["task"],
        "sd_model_checkpoint": scripts["sd_model_checkpoint"],
        "output_location": f"s3://{BUCKET}/31415",
    }
    delivered = platform.delivered()
    assert list(delivered) == [runtime]
    [job] = delivered[runtime]
    assert (job.id, job.task, job.prefix, job.form) == ("31415", Task(scripts["task"]), "", Form.SEED)
    assert job.content == payload
    assert job.model == scripts["sd_model_checkpoint"]


@pytest.mark.parametrize(
    ("payload", "runtime"),
    [
        pytest.param(TEXT_TO_IMAGE, "tiny", id="text to image"),
        pytest.param(IMAGE_TO_IMAGE, "tiny", id="image to image"),
        pytest.param(OTHER_MODEL, "any", id="a model that only the dynamic runtime serves"),
    ],
)
def test_v1alpha1(platform: Platform, payload: dict[str, Any], runtime: str) -> None:
    scripts = payload["alwayson_scripts"] | {"save_dir": "some/folder"}
    payload = payload | {"alwayson_scripts": scripts}
    answer = platform.api.post("/v1alpha1", json=payload)
    assert answer.status_code == 200
    assert answer.json() == {
        "id_task": "31415",
        "sd_model_checkpoint": scripts["sd_model_checkpoint"],
        "output_location": f"s3://{BUCKET}/some/folder/31415",
    }
    delivered = platform.delivered()
    assert list(delivered) == [runtime]
    [job] = delivered[runtime]
    assert (job.id, job.prefix, job.form, job.context) == ("31415", "some/folder", Form.V1ALPHA1, {})
    assert job.content == payload


def test_v1alpha1_as_the_guidances_openapi_file_has_it_inside_a_task(platform: Platform) -> None:
    answer = platform.api.post("/v1alpha1", json={"task": TEXT_TO_IMAGE})
    assert answer.status_code == 200
    assert platform.delivered()["tiny"][0].content == TEXT_TO_IMAGE


def test_v1alpha1_without_a_save_dir_goes_to_the_documented_default(platform: Platform) -> None:
    answer = platform.api.post("/v1alpha1", json={"alwayson_scripts": HEADER})
    assert answer.json()["output_location"] == f"s3://{BUCKET}/outputs/31415"
    assert platform.delivered()["tiny"][0].prefix == "outputs"


@pytest.mark.parametrize(
    ("payload", "runtime", "tasktype"),
    [
        pytest.param(task("tiny", "text-to-image", {"prompt": "x"}), "tiny", Task.TEXT_TO_IMAGE, id="text to image"),
        pytest.param(
            task("tiny", "image-to-image", {"init_images": ["https://images.example.com/a.png"]}),
            "tiny",
            Task.IMAGE_TO_IMAGE,
            id="image to image",
        ),
        pytest.param(
            task("any", "extra-single-image", EXTRAS), "any", Task.EXTRA_SINGLE_IMAGE, id="one image's extras"
        ),
        pytest.param(
            task("any", "extra-batch-image", EXTRAS), "any", Task.EXTRA_BATCH_IMAGES, id="extras, as the code spells it"
        ),
        pytest.param(task("flow", "pipeline", WORKFLOW), "flow", Task.PIPELINE, id="pipeline"),
        pytest.param(task("TINY", "text-to-image", {}), "tiny", Task.TEXT_TO_IMAGE, id="a runtime in capitals"),
    ],
)
def test_v1alpha2(platform: Platform, payload: dict[str, Any], runtime: str, tasktype: Task) -> None:
    answer = platform.api.post("/v1alpha2", json=payload)
    assert answer.status_code == 200
    assert answer.json() == {"id": "test-1", "runtime": runtime, "output_location": f"s3://{BUCKET}/output/test-1"}
    delivered = platform.delivered()
    assert list(delivered) == [runtime]
    [job] = delivered[runtime]
    assert (job.id, job.task, job.prefix, job.form) == ("test-1", tasktype, "output", Form.V1ALPHA2)
    assert job.context == {"userId": 123}
    assert job.content == payload["task"]["content"]


@pytest.mark.parametrize(("prefix", "place"), [("a/b/", "a/b/test-1"), ("", "test-1"), (None, "output/test-1")])
def test_the_answer_names_the_place_where_the_output_really_will_be(
    platform: Platform, prefix: str | None, place: str
) -> None:
    payload = task("tiny", "text-to-image", {})
    if prefix is None:
        del payload["task"]["metadata"]["prefix"]
    else:
        payload["task"]["metadata"]["prefix"] = prefix
    answer = platform.api.post("/v1alpha2", json=payload)
    assert answer.json()["output_location"] == f"s3://{BUCKET}/{place}"
    assert platform.delivered()["tiny"][0].folder == place


def test_a_number_for_an_id_works_as_it_always_did(platform: Platform) -> None:
    payload = task("tiny", "text-to-image", {})
    payload["task"]["metadata"]["id"] = 21123
    assert platform.api.post("/v1alpha2", json=payload).json()["id"] == 21123
    assert platform.delivered()["tiny"][0].id == "21123"


@pytest.mark.parametrize("job_id", ["my job (2)", "katzen~bild", "猫", "50%", "a:b@c", "%41"])
def test_an_id_of_any_characters_but_slashes_works_as_it_always_did(platform: Platform, job_id: str) -> None:
    payload = task("tiny", "text-to-image", {"prompt": "x" * 300_000})
    payload["task"]["metadata"]["id"] = job_id
    answer = platform.api.post("/v1alpha2", json=payload)
    assert answer.json()["output_location"] == f"s3://{BUCKET}/output/{job_id}"
    [job] = platform.delivered()["tiny"]
    assert job.id == job_id
    assert job.content_ref
    stored = platform.aws.s3.get_object(Bucket=BUCKET, Key=job.content_ref)
    assert json.loads(stored["Body"].read()) == payload["task"]["content"]


def test_the_same_request_again_is_another_job(platform: Platform) -> None:
    for _ in range(2):
        assert platform.api.post("/v1alpha2", json=V1ALPHA2).status_code == 200
    one, other = platform.delivered()["tiny"]
    assert (one.id, one.content) == (other.id, other.content)
    assert one.key != other.key


@pytest.mark.parametrize("tasktype", [each for each in Task if each is not Task.PIPELINE])
def test_on_comfyui_every_task_is_a_pipeline(platform: Platform, tasktype: Task) -> None:
    """The guidance's agent never looked at it there, and its newest API let no `pipeline` through."""
    answer = platform.api.post("/v1alpha2", json=task("FLOW", tasktype, WORKFLOW))
    assert answer.json() == {"id": "test-1", "runtime": "flow", "output_location": f"s3://{BUCKET}/output/test-1"}
    [job] = platform.delivered()["flow"]
    assert (job.task, job.content) == (Task.PIPELINE, WORKFLOW)


def without(payload: dict[str, Any], *path: str) -> dict[str, Any]:
    payload = copy.deepcopy(payload)
    place = payload
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return payload


V1ALPHA2 = task("tiny", "text-to-image", {"prompt": "x"})


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/", without(TEXT_TO_IMAGE, "alwayson_scripts"), "Incorrect payload structure"),
        ("/", without(TEXT_TO_IMAGE, "alwayson_scripts", "task"), "Incorrect payload structure"),
        ("/", without(TEXT_TO_IMAGE, "alwayson_scripts", "sd_model_checkpoint"), "Incorrect payload structure"),
        ("/", without(TEXT_TO_IMAGE, "alwayson_scripts", "id_task"), "Incorrect payload structure"),
        ("/", {"alwayson_scripts": []}, "Incorrect payload structure"),
        ("/", [], "Incorrect payload structure"),
        ("/v1alpha1", {}, "Incorrect payload structure, alwayson_scripts is missing"),
        ("/v1alpha1", {"alwayson_scripts": {}}, "Incorrect payload structure, id_task is missing"),
        (
            "/v1alpha1",
            without(TEXT_TO_IMAGE, "alwayson_scripts", "task"),
            "Incorrect payload structure, task is missing",
        ),
        (
            "/v1alpha1",
            without(TEXT_TO_IMAGE, "alwayson_scripts", "sd_model_checkpoint"),
            "Incorrect payload structure, sd_model_checkpoint is missing",
        ),
        (
            "/v1alpha1",
            without(TEXT_TO_IMAGE, "alwayson_scripts", "id_task"),
            "Incorrect payload structure, id_task is missing",
        ),
        ("/v1alpha2", {}, "Incorrect payload structure, task is missing"),
        ("/v1alpha2", {"task": 1}, "Incorrect payload structure"),
        ("/v1alpha2", {"task": {}}, "Incorrect payload structure, content is missing"),
        ("/v1alpha2", without(V1ALPHA2, "task", "metadata"), "Incorrect payload structure, metadata is missing"),
        ("/v1alpha2", without(V1ALPHA2, "task", "content"), "Incorrect payload structure, content is missing"),
        ("/v1alpha2", without(V1ALPHA2, "task", "metadata", "id"), "Incorrect payload structure, id is missing"),
        (
            "/v1alpha2",
            without(V1ALPHA2, "task", "metadata", "runtime"),
            "Incorrect payload structure, runtime is missing",
        ),
        (
            "/v1alpha2",
            without(V1ALPHA2, "task", "metadata", "tasktype"),
            "Incorrect payload structure, tasktype is missing",
        ),
    ],
)
def test_what_is_missing_is_said_in_the_guidances_words(platform: Platform, path: str, body: Any, text: str) -> None:
    answer = platform.api.post(path, json=body)
    assert (answer.status_code, answer.text) == (400, text)
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{", "The request body is not JSON: Expecting property name"),
        ("", "The request body is not JSON: Expecting value"),
        ('{"steps": NaN}', "The request body is not JSON: NaN is not a number in JSON"),
        (b"\xff", "The request body is not JSON: 'utf-8' codec can't decode"),
        ("[" * 100_000, "The request body is not JSON: maximum recursion depth exceeded"),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(
    platform: Platform, path: str, body: str | bytes, text: str
) -> None:
    answer = platform.api.post(path, content=body)
    assert answer.status_code == 400
    assert answer.text.startswith(text)


@pytest.mark.parametrize(
    ("path", "method"), [*((path, "PUT") for path in FORMS), ("/", "DELETE"), ("/v1alpha1", "GET")]
)
def test_other_methods_are_refused_in_the_guidances_words(platform: Platform, path: str, method: str) -> None:
    answer = platform.api.request(method, path)
    assert (answer.status_code, answer.text) == (400, "Unsupported HTTP method")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"runtime": "nobody"}, 'there is no runtime "nobody"; available: tiny (sdwebui, model tiny.safetensors), any'),
        ({"tasktype": "pipeline"}, 'runtime "tiny" does not do "pipeline"; available: '),
        ({"runtime": "\ud800"}, "the runtime must be a name"),
        ({"tasktype": "text-to-video"}, "the task must be one of text-to-image, "),
        ({"runtime": "flow", "tasktype": "text-to-video"}, "the task must be one of text-to-image, "),
        ({"id": "a/b"}, "the id must be 1 to 128 printable characters without a slash"),
        ({"id": "", "prefix": "../x"}, "the id must be 1 to 128 printable characters without a slash; the prefix must"),
        ({"prefix": "jobs/mine"}, "the prefix must be a folder of at most 512 characters, without '.' or '..' parts"),
        ({"context": "\ud800"}, "the context holds half a character"),
        ({"context": "\uffff"}, "the job holds the character U+FFFF, which is no text"),
        ({"context": "x" * 300_000}, "the context is too large"),
    ],
)
def test_upstreams_silent_losses_and_crashes_are_clear_refusals(
    platform: Platform, change: dict[str, Any], text: str
) -> None:
    payload = copy.deepcopy(V1ALPHA2)
    payload["task"]["metadata"] |= change
    answer = platform.api.post("/v1alpha2", content=json.dumps(payload))
    assert answer.status_code == 400
    assert answer.text.startswith(text)
    assert platform.delivered() == {}


def test_a_model_that_no_runtime_serves_is_refused_with_what_would_work(platform: Platform) -> None:
    platform.publish_runtimes([{"name": "tiny", "type": "sdwebui", "model": "tiny.safetensors"}])
    for path in ("/", "/v1alpha1"):
        answer = platform.api.post(path, json=OTHER_MODEL)
        assert answer.status_code == 400
        expected = 'no runtime serves the model "xl.safetensors"; available: tiny (sdwebui, model tiny.safetensors)'
        assert answer.text == expected


@pytest.mark.parametrize("model", ["", 7, None])
def test_a_model_without_a_name_is_refused(platform: Platform, model: Any) -> None:
    payload = {"alwayson_scripts": HEADER | {"sd_model_checkpoint": model}}
    answer = platform.api.post("/", json=payload)
    assert (answer.status_code, answer.text) == (400, "sd_model_checkpoint must be the name of a model")


@pytest.mark.parametrize("path", FORMS)
def test_a_request_nests_as_deeply_as_agents_can_take_and_no_deeper(platform: Platform, path: str) -> None:
    def nested(levels: int) -> dict[str, Any]:
        deep: dict[str, Any] = {}
        for _ in range(levels - 1):
            deep = {"a": deep}
        return deep if path == "/v1alpha2" else deep | {"alwayson_scripts": HEADER}

    def ask(levels: int) -> tuple[int, str]:
        content = nested(levels)
        body = task("tiny", "text-to-image", content) if path == "/v1alpha2" else content
        answer = platform.api.post(path, json=body)
        return answer.status_code, answer.text

    assert ask(MAX_DEPTH)[0] == 200
    [job] = platform.delivered()["tiny"]
    assert job.content == nested(MAX_DEPTH)
    for levels in (MAX_DEPTH + 1, 900):
        assert ask(levels) == (400, "the content nests more than 100 levels deep")
    assert platform.delivered() == {}


@pytest.mark.parametrize("path", FORMS)
def test_a_number_too_large_for_any_program_is_refused(platform: Platform, path: str) -> None:
    content = {"alwayson_scripts": HEADER, "cfg_scale": 7}
    body = task("tiny", "text-to-image", content) if path == "/v1alpha2" else content
    answer = platform.api.post(path, content=json.dumps(body).replace('"cfg_scale": 7', '"cfg_scale": 1e999'))
    assert (answer.status_code, answer.text) == (400, "the content holds a number that is not finite")
    assert platform.delivered() == {}


def test_an_accepted_job_costs_one_publication_and_leaves_no_object(platform: Platform) -> None:
    platform.api.post("/v1alpha2", json=V1ALPHA2)
    assert platform.aws.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "id": anything | st.just("a"),
        "id_task": anything | st.just("a"),
        "runtime": anything | st.sampled_from(["tiny", "flow"]),
        "task": anything | st.sampled_from(list(Task)),
        "tasktype": anything | st.sampled_from(list(Task)),
        "sd_model_checkpoint": anything | st.just("tiny.safetensors"),
        "prefix": anything,
        "save_dir": anything,
        "context": anything,
    },
)
tasks = st.fixed_dictionaries({}, optional={"metadata": headers | anything, "content": anything})
payloads = anything | st.fixed_dictionaries({}, optional={"alwayson_scripts": headers | anything, "task": tasks})


@given(payloads, st.sampled_from(list(FORMS.values())))
def test_whatever_arrives_becomes_a_job_for_one_runtime_or_a_reason(payload: Any, read: Callable[[Any], Asked]) -> None:
    table = [Runtime(**each) for each in RUNTIMES]
    try:
        asked = read(payload)
        parcel = pack(routed(asked, table))
    except (Problem, InvalidJobError, UnroutableError):
        return
    assert decode(parcel.message, "") == parcel.job
    assert parcel.job.runtime in {each.name for each in table}
