"""What no inference server would take is refused before it waits, with everything that is wrong with it at once."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import bodies
from contract.job import Task
from tests.api.conftest import Platform

NODE = {"class_type": "EmptyImage", "inputs": {}}


def refused(platform: Platform, body: dict[str, Any]) -> dict[str, str]:
    answer = platform.api.post("/v1/jobs", json=body)
    assert answer.status_code == 422, answer.text
    assert platform.delivered() == {}
    return {error["path"]: error["message"] for error in answer.json()["errors"]}


def test_everything_that_is_wrong_with_a_drawing_is_said_at_once_beside_all_else(platform: Platform) -> None:
    drawing = {
        "prompt": ["a", "list"],
        "width": 15,
        "height": 8193,
        "steps": 0,
        "batch_size": "many",
        "n_iter": 101,
        "seed": -2,
        "cfg_scale": 101,
        "denoising_strength": 1.1,
        "override_settings": [],
        "alwayson_scripts": "none",
    }
    said = refused(platform, {"id": "a/b", "expires_in": 0, "colour": "red", "runtime": "tiny", "input": drawing})
    assert said.keys() == {"id", "expires_in", "colour", *(f"input.{name}" for name in drawing)}
    assert said["input.width"] == "Input should be greater than or equal to 16"


def test_an_input_is_checked_though_something_else_is_wrong_only_as_far_as_its_runtime_is_known(
    platform: Platform,
) -> None:
    wrong = {"id": "a/b", "input": {"steps": 0}}
    assert refused(platform, wrong | {"model": "tiny.safetensors"}).keys() == {"id", "input.steps"}
    assert refused(platform, wrong | {"runtime": 7}).keys() == {"id", "runtime"}
    assert refused(platform, wrong | {"runtime": 7, "task": "text-to-image"}).keys() == {"id", "runtime", "input.steps"}
    assert refused(platform, wrong | {"task": "nap", "runtime": "tiny"}).keys() == {"id", "task", "input.steps"}
    assert refused(platform, wrong | {"runtime": "nobody"})["runtime"].startswith('there is no runtime "nobody"')
    assert refused(platform, {"id": "a/b", "input": []}).keys() == {"id", "input"}
    answer = platform.api.post("/v1/jobs", json=[])
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "drawing",
    [
        {},
        {"width": None, "seed": None, "alwayson_scripts": None},
        {"seed": "", "subseed": -1, "steps": "20", "width": 512.0},
        {"prompt": "x", "an_extension": {"knows": "more"}, "tiling": True},
        {"width": 16, "height": 8192, "steps": 1000, "batch_size": 100, "cfg_scale": 0, "denoising_strength": 1},
    ],
)
def test_what_the_web_ui_takes_is_passed_on_as_it_is(platform: Platform, drawing: dict[str, Any]) -> None:
    assert platform.api.post("/v1/jobs", json={"runtime": "tiny", "input": drawing}).status_code == 202
    [job] = platform.delivered()["tiny"]
    assert job.content == drawing


@pytest.mark.parametrize(
    ("task", "body", "where"),
    [
        ("image-to-image", {}, {"input.init_images"}),
        ("image-to-image", {"init_images": []}, {"input.init_images"}),
        ("image-to-image", {"init_images": ["", 7]}, {"input.init_images.0", "input.init_images.1"}),
        ("image-to-image", {"init_images": ["x"], "steps": 0}, {"input.steps"}),
        ("extra-single-image", {}, {"input.image"}),
        ("extra-single-image", {"image": "x", "upscaling_resize": 9}, {"input.upscaling_resize"}),
        ("extra-batch-images", {"imageList": []}, {"input.imageList"}),
        ("extra-batch-images", {"imageList": [{"name": "a"}]}, {"input.imageList.0.data"}),
    ],
)
def test_each_task_needs_its_own(platform: Platform, task: str, body: dict[str, Any], where: set[str]) -> None:
    assert refused(platform, {"runtime": "any", "task": task, "input": body}).keys() == where


@pytest.mark.parametrize(
    ("task", "body"),
    [
        ("image-to-image", {"init_images": ["https://images.example.com/a.png"]}),
        ("image-to-image", {"alwayson_scripts": {"image_link": "https://images.example.com/a.png"}}),
        ("extra-single-image", {"image": "s3://outputs/uploads/a.png", "upscaling_resize": 4}),
        ("extra-batch-images", {"imageList": [{"data": "iVBOR", "name": "a.png"}, {"data": "iVBOR"}]}),
    ],
)
def test_what_a_task_needs_is_enough(platform: Platform, task: str, body: dict[str, Any]) -> None:
    assert platform.api.post("/v1/jobs", json={"runtime": "any", "task": task, "input": body}).status_code == 202


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        ({}, {"input": "the workflow has no nodes"}),
        (
            {"nodes": [], "links": [], "version": 0.4},
            {"input": "this is a workflow as ComfyUI's editor saves it: export it in the API format"},
        ),
        ({"1": 7}, {"input.1": "a node must be an object with `class_type` and `inputs`"}),
        (
            {"1": {}, "2": {"class_type": "", "inputs": []}},
            {
                "input.1.class_type": "the name of the node's class is missing",
                "input.1.inputs": "the node's inputs are missing: an object, which may be empty",
                "input.2.class_type": "the name of the node's class is missing",
                "input.2.inputs": "the node's inputs are missing: an object, which may be empty",
            },
        ),
        (
            {"1": NODE, "2": {"class_type": "Save", "inputs": {"images": ["9", 0], "text": ["9"], "n": [1, 2]}}},
            {"input.2.inputs.images": 'there is no node "9"'},
        ),
        (
            {"1": {"class_type": "A", "inputs": {"x": ["2", 0]}}, "2": {"class_type": "B", "inputs": {"x": ["1", 0]}}},
            {"input": "the nodes 1, 2, 1 form a circle"},
        ),
    ],
)
def test_a_workflow_must_be_one(platform: Platform, graph: dict[str, Any], said: dict[str, str]) -> None:
    assert refused(platform, {"runtime": "flow", "input": graph}) == said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "class_type",
                    "inputs",
                    "1",
                    "2",
                    "nodes",
                    "width",
                    "steps",
                    "seed",
                    "init_images",
                    "image",
                    "imageList",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.sampled_from(Task), st.dictionaries(st.text(max_size=8), JSON, max_size=4) | JSON)
def test_a_check_never_fails_itself(task: Task, body: Any) -> None:
    if isinstance(body, dict):
        assert all(error["msg"] and isinstance(error["loc"], tuple) for error in bodies.check(task, body))


def test_times_are_given_in_seconds_from_now_and_travel_as_times(platform: Platform) -> None:
    body = {"id": "mine", "runtime": "tiny", "input": {}, "expires_in": 60, "deadline": 3600}
    accepted = platform.api.post("/v1/jobs", json=body).json()
    created_at, expires_at, deadline = (
        datetime.fromisoformat(accepted[name]) for name in ("created_at", "expires_at", "deadline")
    )
    assert (expires_at - created_at, deadline - created_at) == (timedelta(minutes=1), timedelta(hours=1))
    [job] = platform.delivered()["tiny"]
    assert (job.created_at, job.expires_at, job.deadline) == (created_at, expires_at, deadline)
    state = platform.api.get("/v1/jobs/mine").json()
    assert (state["expires_at"], state["deadline"]) == (accepted["expires_at"], accepted["deadline"])
    assert platform.api.post("/v1/jobs", json=body).json() == accepted, "repeated, it has no more time than before"


@pytest.mark.parametrize("seconds", [0, -1, 1.5, "soon", 14 * 24 * 3600 + 1])
@pytest.mark.parametrize("name", ["expires_in", "deadline"])
def test_a_time_is_a_number_of_seconds_that_a_queue_can_wait(platform: Platform, name: str, seconds: Any) -> None:
    assert refused(platform, {"runtime": "tiny", "input": {}, name: seconds}).keys() == {name}


def test_a_webhook_travels_with_its_job(platform: Platform) -> None:
    body = {"runtime": "tiny", "input": {}, "webhook": "https://hooks.example.com/darkroom?token=1"}
    assert platform.api.post("/v1/jobs", json=body).status_code == 202
    assert platform.delivered()["tiny"][0].webhook == body["webhook"]
    for wrong in ("ftp://example.com", "hooks.example.com", "https://", "https://example.com/a b", 7):
        assert refused(platform, body | {"webhook": wrong}).keys() == {"webhook"}


def test_each_error_points_into_the_body(platform: Platform) -> None:
    workflow = {"a/b~c ü": {"class_type": "A", "inputs": {}}, "2": {"class_type": "B", "inputs": {"x.y": ["9", 0]}}}
    del workflow["a/b~c ü"]["class_type"]
    body = {"id": "a/b", "runtime": "flow", "input": workflow}
    errors = platform.api.post("/v1/jobs", json=body, headers={"Idempotency-Key": "a/"}).json()["errors"]
    assert [error.get("pointer") for error in errors] == [
        None,  # a header is not in the body
        "#/id",
        "#/input/a~1b~0c%20%C3%BC/class_type",
        "#/input/2/inputs/x.y",
    ]
