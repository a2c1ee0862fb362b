"""Jobs that are too late, jobs that nobody wants any more, and how both are found again."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract import keys
from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Stage, Start, WebUI
from tests.conftest import eventually

FORMS = [Form.SEED, Form.V1ALPHA1, Form.V1ALPHA2, Form.V1]


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def job(job_id: str = "j", **fields: Any) -> Job:
    return Job(job_id, RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p", "seed": 1}, **({"form": Form.V1} | fields))


def cancel(stage: Stage, key: str) -> None:
    """What the API does for a job that has started."""
    body = json.dumps({"requested_at": datetime.now(UTC).isoformat()}).encode()
    stage.s3.put_object(Bucket=stage.bucket, Key=keys.record(key, keys.CANCEL), Body=body)


def ended_as(stage: Stage, status: str, code: str) -> None:
    """The only job ended so, and its result, its document and its notice say so in the words of its form."""
    result = stage.result()
    assert (result["status"], result["failure"]["code"], result["images"]) == (status, code, [])
    message = result["failure"]["message"]
    document = stage.json(result["output_url"].removeprefix(f"s3://{stage.bucket}/"))
    assert document["parameters"]["error_msg"] == message
    (notice,) = stage.heard()
    if result["form"] == Form.SEED:
        assert (notice["parameters"]["status"], notice["parameters"]["error_msg"]) == (0, message)
    else:
        assert (notice["result"], notice["status"], notice["reason"]) == (False, "failed", status)
        assert notice["error_msg"] == message
    assert notice["_attributes"]["status"] == "failed"


@pytest.mark.parametrize("form", FORMS)
def test_job_that_expired_while_it_waited_in_the_queue_is_not_started(
    stage: Stage, start: Start, webui: WebUI, form: Form
) -> None:
    stage.send(encode(job(expires_at=soon(-1), form=form)))
    start()
    ended_as(stage, "expired", "expired")
    assert webui.asked == []


def test_job_that_expires_behind_another_one_is_not_started(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(encode(job("first")))
    agent = start()
    eventually(lambda: webui.asked, "the start")
    expires_at = soon(1.5)
    stage.send(encode(job("second", expires_at=expires_at)))
    eventually(lambda: agent.pipeline.shelf, "the second one")
    eventually(lambda: datetime.now(UTC) > expires_at, "its time")
    webui.held.set()
    eventually(lambda: len(stage.results()) == 2 and stage.empty(), "both")
    assert {it["id"]: it["status"] for it in stage.results()} == {"first": "succeeded", "second": "expired"}
    assert webui.asked == ["POST txt2img"]


def test_job_that_started_in_time_may_outlast_its_expiry(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    expires_at = soon(3)
    stage.send(encode(job(expires_at=expires_at)))
    start()
    eventually(lambda: webui.asked, "the start")
    eventually(lambda: datetime.now(UTC) > expires_at, "its time")
    webui.held.set()
    assert stage.result()["status"] == "succeeded"


def test_job_past_its_deadline_is_not_started(stage: Stage, start: Start, webui: WebUI) -> None:
    stage.send(encode(job(deadline=soon(-1))))
    start()
    ended_as(stage, "failed", "deadline")
    assert webui.asked == []


def test_job_that_runs_past_its_deadline_is_interrupted(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(encode(job(deadline=soon(2))))
    start()
    ended_as(stage, "failed", "deadline")
    assert webui.asked == ["POST txt2img", "POST interrupt"]


def test_clock_that_is_set_does_not_move_the_deadline_of_a_job_that_waits_or_runs(
    stage: Stage, start: Start, webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(hours=2)

    webui.held.clear()
    stage.send(encode(job("running", deadline=soon(600), expires_at=soon(600))))
    agent = start()
    eventually(lambda: webui.asked, "the start")
    stage.send(encode(job("waiting", deadline=soon(600), expires_at=soon(600))))
    eventually(lambda: agent.pipeline.shelf, "the second one")
    for module in ("intake", "outcome", "pipeline", "progress"):
        monkeypatch.setattr(f"agent.{module}.datetime", Later)
    webui.held.set()
    eventually(lambda: len(stage.results()) == 2 and stage.empty(), "both")
    assert {result["status"] for result in stage.results()} == {"succeeded"}


def test_message_is_not_held_beyond_what_its_deadline_allows(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(encode(job(deadline=soon(100))))
    agent = start(finish_seconds=10, visibility_timeout_seconds=60)
    eventually(lambda: webui.asked, "the start")
    (lease,) = agent.pipeline.keeper._leases
    assert 100 < lease.left_s() <= 100 + 15 + 10 + 60
    webui.held.set()


@pytest.mark.parametrize("form", FORMS)
def test_job_that_was_cancelled_before_its_start_never_reaches_the_gpu(
    stage: Stage, start: Start, webui: WebUI, form: Form
) -> None:
    # The older forms' keys depend on the delivery: the marker of one is put there when the message is known.
    stage.send(encode(job(form=form)))

    def mark(pipeline: Any) -> None:
        real = pipeline.keeper.claim

        def claim(lease: Any, key: str) -> bool:
            cancel(stage, key)
            return bool(real(lease, key))

        pipeline.keeper.claim = claim

    start(mark)
    ended_as(stage, "cancelled", "cancelled")
    assert webui.asked == []


def test_job_that_the_api_ended_is_only_told_and_deleted(stage: Stage, start: Start, webui: WebUI) -> None:
    cancel(stage, "j")
    told = {"code": "cancelled", "message": "cancelled before it started"}
    ended = {"id": "j", "key": "j", "runtime": RUNTIME, "form": "v1", "status": "cancelled", "failure": told}
    body = json.dumps(ended | {"finished_at": datetime.now(UTC).isoformat()}).encode()
    stage.s3.put_object(Bucket=stage.bucket, Key=keys.record("j", keys.RESULT), Body=body)
    stage.send(encode(job()))
    start()
    (notice,) = stage.heard()
    assert (notice["reason"], notice["error_msg"]) == ("cancelled", told["message"])
    eventually(stage.empty, "the end of the message")
    assert webui.asked == []


def test_job_that_is_cancelled_while_it_runs_is_interrupted(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(encode(job()))
    start()
    eventually(lambda: webui.asked, "the start")
    cancel(stage, "j")
    ended_as(stage, "cancelled", "cancelled")
    assert webui.asked == ["POST txt2img", "POST interrupt"]
    webui.held.set()
    stage.send(encode(job("next")))
    eventually(lambda: len(stage.results()) == 2, "the next job")


@pytest.mark.parametrize("form", FORMS)
def test_jobs_of_the_older_forms_are_listed(stage: Stage, start: Start, webui: WebUI, form: Form) -> None:
    stage.send(encode(job("drawn", form=form)))
    stage.send(encode(job("late", form=form, deadline=soon(-1))))
    start()
    eventually(lambda: len(stage.results()) == 2 and stage.empty(), "both")

    def listed() -> set[str]:
        return {keys.indexed(key) for key in stage.objects(f"{keys.INDEX}/")}

    if form is Form.V1:
        assert listed() == set(), "the API lists them"
    else:
        eventually(lambda: listed() == {result["key"] for result in stage.results()}, "the list")
        created = [datetime.fromisoformat(it["created_at"]) for it in stage.results()]
        assert set(stage.objects(f"{keys.INDEX}/")) == {
            keys.index(at, it["key"]) for at, it in zip(created, stage.results(), strict=True)
        }
