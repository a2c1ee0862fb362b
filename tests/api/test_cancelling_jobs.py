"""`DELETE /v1/jobs/{id}`: a job that waits ends at once, one that runs is interrupted, one that has ended stays."""

import json
from typing import Any

import pytest

from contract import keys
from contract.result import Result
from tests.api.conftest import Platform

BODY: dict[str, Any] = {"id": "mine", "runtime": "tiny", "input": {"prompt": "x"}, "context": {"user": 7}}


def cancel(platform: Platform, job_id: str = "mine") -> tuple[int, dict[str, Any]]:
    answer = platform.api.request("DELETE", f"/v1/jobs/{job_id}")
    return answer.status_code, answer.json()


def test_a_job_that_waits_ends_at_once_and_its_agent_finds_the_result(platform: Platform) -> None:
    accepted = platform.api.post("/v1/jobs", json=BODY).json()
    status, state = cancel(platform)
    assert (status, state["status"], state["context"]) == (200, "cancelled", {"user": 7})
    assert state["error"] == {"code": "cancelled", "message": "the job was cancelled before it started", "detail": None}
    assert state["output_location"] == accepted["output_location"]
    assert state["cancel_requested_at"]
    result = Result.model_validate(platform.get("mine", keys.RESULT))
    assert (result.id, result.key, result.runtime, result.task) == ("mine", "mine", "tiny", "text-to-image")
    assert result.created_at
    assert platform.get("mine", keys.CANCEL).keys() == {"requested_at"}


def test_cancelling_again_changes_nothing(platform: Platform) -> None:
    platform.api.post("/v1/jobs", json=BODY)
    first = cancel(platform)
    assert cancel(platform) == first


def test_a_job_that_runs_is_marked_for_its_agent(platform: Platform) -> None:
    platform.api.post("/v1/jobs", json=BODY)
    platform.put("mine", keys.STARTED, {"started_at": "2026-11-24T12:00:00Z"})
    for _ in range(2):
        status, state = cancel(platform)
        assert (status, state["status"]) == (202, "running")
        assert state["cancel_requested_at"]
    record = platform.aws.s3.list_objects_v2(Bucket=platform.settings.s3_output_bucket, Prefix="jobs/mine/")
    names = {item["Key"].rpartition("/")[2] for item in record["Contents"]}
    assert names == {keys.JOB, keys.STARTED, keys.CANCEL}, "how it ends is for its agent to say"


@pytest.mark.parametrize("ending", ["succeeded", "failed", "expired", "cancelled"])
def test_a_job_that_has_ended_stays_as_it_is(platform: Platform, ending: str) -> None:
    platform.api.post("/v1/jobs", json=BODY)
    end = {"id": "mine", "key": "mine", "runtime": "tiny", "status": ending, "finished_at": "2026-11-24T12:00:00Z"}
    platform.put("mine", keys.RESULT, end)
    status, state = cancel(platform)
    assert (status, state["status"], state["cancel_requested_at"]) == (200, ending, None)
    assert platform.get("mine", keys.RESULT) == end


def test_whatever_an_agent_wrote_in_the_same_moment_stands(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job ends between our look and our writing."""
    platform.api.post("/v1/jobs", json=BODY)
    end = {"id": "mine", "key": "mine", "runtime": "tiny", "status": "succeeded", "finished_at": "2026-11-24T12:00:00Z"}
    really = platform.aws.s3.put_object

    def faster(**asked: Any) -> Any:
        if asked["Key"].endswith(keys.CANCEL):
            really(Bucket=asked["Bucket"], Key=keys.record("mine", keys.RESULT), Body=json.dumps(end).encode())
        return really(**asked)

    monkeypatch.setattr(platform.aws.s3, "put_object", faster)
    status, state = cancel(platform)
    assert (status, state["status"]) == (200, "succeeded")


def test_a_job_of_an_older_form_can_be_cancelled_once_it_is_known(platform: Platform) -> None:
    metadata = {"id": "old", "runtime": "tiny", "tasktype": "text-to-image", "prefix": "output"}
    platform.api.post("/v1alpha2", json={"task": {"metadata": metadata, "content": {}}})
    [job] = platform.delivered()["tiny"]
    status, problem = cancel(platform, "old")
    assert (status, problem["detail"]) == (404, 'there is no job "old"')
    platform.put(job.key, keys.STARTED, {"started_at": "2026-11-24T12:00:00Z"})
    status, state = cancel(platform, "old")
    assert (status, state["status"]) == (202, "running")
    assert platform.get(job.key, keys.CANCEL)["requested_at"]


def test_what_is_no_job_cannot_be_cancelled(platform: Platform) -> None:
    assert cancel(platform, "nobody")[0] == 404
    assert platform.aws.s3.list_objects_v2(Bucket=platform.settings.s3_output_bucket)["KeyCount"] == 0
