"""What clients are told, in the shape that the version of the guidance they were written for tells it."""

from datetime import UTC, datetime

import pytest

from contract.job import Form, Task
from contract.result import Failure, Result, callback, document

DONE = Result(
    id="42",
    key="42~abc",
    runtime="sdruntime",
    task=Task.TEXT_TO_IMAGE,
    status="succeeded",
    images=["s3://b/output/42/42-ab12-1.png", "s3://b/output/42/42-ab12-2.png"],
    output_url="s3://b/output/42/42-ab12.out",
    seeds=[1, 2],
    parameters={"prompt": "a red circle"},
    context={"user": 7},
    finished_at=datetime(2026, 1, 1, tzinfo=UTC),
)
FAILED = DONE.model_copy(
    update={
        "status": "failed",
        "images": [],
        "seeds": [],
        "parameters": {},
        "failure": Failure(code="runtime-error", message="Sampler not found", detail={"error": "HTTPException"}),
    }
)


def seed(result: Result, **changes: object) -> Result:
    return result.model_copy(update={"form": Form.SEED, "context": {}, **changes})


@pytest.mark.parametrize("form", [Form.V1ALPHA1, Form.V1ALPHA2, Form.V1])
def test_a_finished_job_is_announced_with_every_key_that_the_guidance_has_used(form: Form) -> None:
    assert callback(DONE.model_copy(update={"form": form})) == {
        "runtime": "sdruntime",
        "id": "42",
        "result": True,
        "status": "completed",
        "image_url": ["s3://b/output/42/42-ab12-1.png", "s3://b/output/42/42-ab12-2.png"],
        "output_url": "s3://b/output/42/42-ab12.out",
        "context": {"user": 7},
    }


def test_a_failed_job_is_announced_with_the_reason() -> None:
    notice = callback(FAILED)
    assert (notice["result"], notice["status"], notice["image_url"]) == (False, "failed", [])
    assert notice["error_msg"] == "Sampler not found"


def test_the_output_document_has_the_parameters_and_seeds() -> None:
    assert document(DONE) == {
        "images": [""],
        "parameters": {"prompt": "a red circle", "id_task": "42", "image_seed": "1,2", "error_msg": ""},
        "info": "",
    }


def test_the_output_document_of_a_failure_has_what_the_inference_server_said() -> None:
    assert document(FAILED)["parameters"] == {
        "id_task": "42",
        "status": 0,
        "error_msg": "Sampler not found",
        "reason": {"error": "HTTPException"},
    }


def test_clients_of_the_first_version_get_its_callback_and_the_same_document() -> None:
    result = seed(DONE, masks=["s3://b/42/42-ab12-3.png"])
    assert callback(result) == document(result)
    assert callback(result)["parameters"] == {
        "prompt": "a red circle",
        "id_task": "42",
        "status": 1,
        "image_url": "s3://b/output/42/42-ab12-1.png,s3://b/output/42/42-ab12-2.png",
        "seed": "1,2",
        "error_msg": "",
        "image_mask_url": "s3://b/42/42-ab12-3.png",
    }


def test_clients_of_the_first_version_get_its_failure() -> None:
    assert callback(seed(FAILED))["parameters"] == {
        "id_task": "42",
        "status": 0,
        "image_url": "",
        "seed": [],
        "error_msg": "Sampler not found",
        "image_mask_url": "",
    }


@pytest.mark.parametrize(("result", "code"), [(DONE, 200), (FAILED, 500)])
def test_a_workflow_s_output_document_says_a_code(result: Result, code: int) -> None:
    assert document(result.model_copy(update={"task": Task.PIPELINE}))["code"] == code
