"""`GET /v1/jobs/{id}`: what a client sees while its job waits, runs and ends."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from contract import keys
from contract.job import Form, Task
from contract.result import Failure, Result
from tests.api.conftest import BUCKET, Platform

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def submit(platform: Platform) -> dict[str, Any]:
    body = {"id": "mine", "runtime": "tiny", "input": {"prompt": "x"}, "context": {"user": 7}}
    accepted: dict[str, Any] = platform.api.post("/v1/jobs", json=body).json()
    return accepted


def result(**known: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": "mine",
        "key": "mine",
        "runtime": "tiny",
        "task": Task.TEXT_TO_IMAGE,
        "form": Form.V1,
        "status": "succeeded",
        "finished_at": NOW,
    }
    return Result(**(facts | known)).model_dump(mode="json")


def state(platform: Platform, job_id: str = "mine") -> dict[str, Any]:
    answer = platform.api.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@contextmanager
def clock_ahead(by: timedelta) -> Iterator[None]:
    """Have S3 believe that it is later."""
    later = datetime.now(UTC) + by
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.s3.models.utcnow", lambda: later.replace(tzinfo=None))
        yield


def test_a_job_that_waits_is_queued(platform: Platform) -> None:
    accepted = submit(platform)
    assert state(platform) == {
        "id": "mine",
        "runtime": "tiny",
        "task": "text-to-image",
        "status": "queued",
        "output_location": f"s3://{BUCKET}/output/mine",
        "created_at": accepted["created_at"],
        "started_at": None,
        "finished_at": None,
        "expires_at": None,
        "deadline": None,
        "cancel_requested_at": None,
        "queue": None,
        "progress": None,
        "images": [],
        "extras": [],
        "seeds": [],
        "parameters": {},
        "timings": {},
        "error": None,
        "webhook": None,
        "context": {"user": 7},
        "links": {"self": "/v1/jobs/mine"},
    }


def backdate(platform: Platform, by: timedelta) -> None:
    """Have the job be as if it had been submitted so long ago."""
    document = platform.get("mine", keys.JOB)
    metadata = document["message"]["metadata"]
    for name in {"created_at", "expires_at", "deadline"} & metadata.keys():
        metadata[name] = (datetime.fromisoformat(metadata[name]) - by).isoformat()
    platform.put("mine", keys.JOB, document)


@pytest.mark.parametrize(
    ("asked", "after", "status", "code"),
    [
        ({"expires_in": 60}, timedelta(seconds=60), "expired", "expired"),
        ({"deadline": 60, "expires_in": 120}, timedelta(seconds=60), "failed", "deadline"),
        ({}, timedelta(days=14), "expired", "expired"),
    ],
)
def test_a_job_that_nobody_began_ends_when_its_time_is_over_though_no_agent_has_looked_at_it(
    platform: Platform, asked: dict[str, Any], after: timedelta, status: str, code: str
) -> None:
    body = {"id": "mine", "runtime": "tiny", "input": {"prompt": "x"}} | asked
    platform.api.post("/v1/jobs", json=body)
    backdate(platform, after - timedelta(seconds=40))
    assert state(platform)["status"] == "queued"
    backdate(platform, timedelta(seconds=40))
    ended = state(platform)
    assert (ended["status"], ended["error"]["code"]) == (status, code)
    assert datetime.fromisoformat(ended["finished_at"]) == datetime.fromisoformat(ended["created_at"]) + after
    began = time.monotonic()
    assert platform.api.get("/v1/jobs/mine", params={"wait": 25}).json() == ended
    assert time.monotonic() - began < 20, "there is nothing to wait for"
    cancelled = platform.api.request("DELETE", "/v1/jobs/mine")
    assert (cancelled.status_code, cancelled.json()) == (200, ended)
    assert platform.api.get("/v1/jobs", params={"status": status}).json()["jobs"] == [ended]
    platform.put("mine", keys.STARTED, {"started_at": NOW.isoformat()})
    assert state(platform)["status"] == "running", "what its agent says stands"


def test_a_link_stays_the_same_for_a_while_so_that_a_browser_knows_its_picture(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(platform)
    platform.put("mine", keys.RESULT, result(images=[f"s3://{BUCKET}/output/mine/mine-0a1b-1.png"]))
    now = 1_000_000.0
    monkeypatch.setattr("api.signing.time", SimpleNamespace(monotonic=lambda: now))
    [first] = state(platform)["images"]
    assert state(platform)["images"] == [first]
    now += platform.settings.presign_seconds / 10
    [second] = state(platform)["images"]
    assert second["url"]
    assert second["expires_at"] > first["expires_at"]


def test_how_the_webhook_fares_is_told(platform: Platform) -> None:
    submit(platform)
    platform.put("mine", keys.RESULT, result())
    assert state(platform)["webhook"] is None
    fares = {
        "status": "failing",
        "attempts": 2,
        "attempted_at": "2026-11-24T12:00:00Z",
        "next_attempt_at": "2026-11-24T12:05:00Z",
        "http_status": 503,
        "error": "it answered 503",
    }
    platform.put("mine", keys.WEBHOOK, fares | {"message": "msg_1"})
    assert state(platform)["webhook"] == fares


def test_a_job_that_runs_tells_how_far_it_is(platform: Platform) -> None:
    submit(platform)
    platform.put("mine", keys.STARTED, {"started_at": NOW.isoformat()})
    running = state(platform)
    assert (running["status"], running["started_at"], running["progress"]) == ("running", "2026-11-24T12:00:00Z", None)
    seen = {"progress": 0.4, "step": 8, "steps": 20, "eta_s": 1.5, "preview": "data:image/png;base64,AAAA"}
    platform.put("mine", keys.PROGRESS, seen)
    assert state(platform)["progress"] == seen


def test_progress_of_an_earlier_attempt_is_not_shown(platform: Platform) -> None:
    submit(platform)
    platform.put("mine", keys.PROGRESS, {"progress": 0.9})
    with clock_ahead(timedelta(minutes=1)):
        platform.put("mine", keys.STARTED, {"started_at": NOW.isoformat(), "attempt": 2})
    assert (state(platform)["status"], state(platform)["progress"]) == ("running", None)


def test_a_job_that_was_given_back_waits_again(platform: Platform) -> None:
    submit(platform)
    noted = {"started_at": NOW.isoformat(), "runtime": "tiny", "task": "text-to-image"}
    platform.put("mine", keys.STARTED, noted)
    platform.put("mine", keys.PROGRESS, {"progress": 0.9})
    assert state(platform)["status"] == "running"
    platform.put("mine", keys.STARTED, noted | {"returned_at": NOW.isoformat()})
    waits = state(platform)
    assert (waits["status"], waits["started_at"], waits["progress"]) == ("queued", None, None)


def test_a_job_whose_agent_notes_no_time_started_when_its_note_was_written(platform: Platform) -> None:
    submit(platform)
    platform.put("mine", keys.STARTED, {})
    started = datetime.fromisoformat(state(platform)["started_at"])
    assert abs(started - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_job_that_succeeded_has_its_pictures_by_links_that_work(platform: Platform) -> None:
    submit(platform)
    platform.put("mine", keys.STARTED, {})
    image, grid = "output/mine/mine-0a1b-1.png", "output/mine/mine-0a1b-2.png"
    platform.aws.s3.put_object(Bucket=BUCKET, Key=image, Body=b"picture")
    facts = {
        "images": [f"s3://{BUCKET}/{image}"],
        "masks": [f"s3://{BUCKET}/{grid}"],
        "output_url": f"s3://{BUCKET}/output/mine/mine-0a1b.out",
        "seeds": [42],
        "parameters": {"steps": 20},
        "context": {"user": 7},
        "started_at": NOW,
        "timings": {"inference": 1.25},
    }
    platform.put("mine", keys.RESULT, result(**facts))
    done = state(platform)
    assert done["status"] == "succeeded"
    assert (done["seeds"], done["parameters"], done["timings"]) == ([42], {"steps": 20}, {"inference": 1.25})
    assert (done["context"], done["output_location"]) == ({"user": 7}, f"s3://{BUCKET}/output/mine")
    assert (done["started_at"], done["finished_at"]) == ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00Z")
    assert [extra["s3"] for extra in done["extras"]] == [f"s3://{BUCKET}/{grid}"]
    [picture] = done["images"]
    assert picture["s3"] == f"s3://{BUCKET}/{image}"
    left = datetime.fromisoformat(picture["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    link = httpx.URL(picture["url"])
    assert (link.params["X-Amz-Expires"], link.params["X-Amz-Algorithm"]) == ("3600", "AWS4-HMAC-SHA256")
    assert link.path.endswith(image)


@pytest.mark.parametrize(
    "place",
    [
        "s3://models-of-others/secret.safetensors",
        f"s3://{BUCKET}/jobs/another/content.json",
        f"s3://{BUCKET}/",
        f"s3://{BUCKET}-2/output/mine/mine-1.png",
        f"{BUCKET}/output/mine/mine-1.png",
        "https://images.example.com/a.png",
    ],
)
def test_nothing_but_pictures_in_the_output_bucket_is_linked_to(platform: Platform, place: str) -> None:
    submit(platform)
    picture = f"s3://{BUCKET}/output/mine/mine-0a1b-1.png"
    platform.put("mine", keys.RESULT, result(images=[place, picture], masks=[place]))
    done = state(platform)
    assert done["images"][0] == done["extras"][0] == {"url": None, "s3": place, "expires_at": None}
    assert done["images"][1]["url"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_a_job_that_did_not_succeed_says_why(platform: Platform, status: str) -> None:
    submit(platform)
    failure = Failure(code="runtime-error", message="the web UI ran out of memory", detail={"error": "OOM"})
    platform.put("mine", keys.RESULT, result(status=status, failure=failure))
    ended = state(platform)
    assert ended["status"] == status
    assert ended["error"] == failure.model_dump()
    assert ended["images"] == []


@pytest.fixture
def reads(platform: Platform) -> Iterator[list[str]]:
    """The objects of records that are read from S3."""
    read: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        if "/jobs/" in params["url_path"]:
            read.append(params["url_path"].rpartition("/")[2])

    platform.aws.s3.meta.events.register("before-call.s3.GetObject", note)
    yield read
    platform.aws.s3.meta.events.unregister("before-call.s3.GetObject", note)


def test_what_stays_as_it_is_of_a_record_is_read_once_however_often_a_job_is_asked_for(
    platform: Platform, reads: list[str]
) -> None:
    submit(platform)
    reads.clear()
    waits = state(platform)
    assert (state(platform), reads) == (waits, ["job.json"])
    platform.put("mine", keys.STARTED, {"started_at": NOW.isoformat()})
    platform.put("mine", keys.PROGRESS, {"progress": 0.1})
    assert state(platform)["progress"]["progress"] == 0.1
    reads.clear()
    platform.put("mine", keys.PROGRESS, {"progress": 0.2})
    assert state(platform)["progress"]["progress"] == 0.2
    assert reads == ["progress.json"]
    platform.put("mine", keys.RESULT, result(seeds=[42]))
    ended = state(platform)
    assert (ended["status"], ended["seeds"]) == ("succeeded", [42])
    reads.clear()
    assert (state(platform), reads) == (ended, [])
    platform.put("mine", keys.WEBHOOK, {"status": "delivered", "attempts": 1, "attempted_at": NOW.isoformat()})
    assert state(platform)["webhook"]["status"] == "delivered"
    assert reads == ["webhook.json"]


def test_what_is_written_again_is_read_again(platform: Platform) -> None:
    submit(platform)
    platform.put("mine", keys.STARTED, {"started_at": NOW.isoformat(), "attempt": 1})
    assert state(platform)["started_at"] == "2026-11-24T12:00:00Z"
    platform.put("mine", keys.STARTED, {"started_at": (NOW + timedelta(minutes=1)).isoformat(), "attempt": 2})
    assert state(platform)["started_at"] == "2026-11-24T12:01:00Z"


def test_a_large_record_is_not_kept_in_memory(platform: Platform, reads: list[str]) -> None:
    body = {"id": "mine", "runtime": "tiny", "input": {"prompt": "x" * 20_000}}
    assert platform.api.post("/v1/jobs", json=body).status_code == 202
    reads.clear()
    assert state(platform) == state(platform)
    assert reads == ["job.json", "job.json"]


def test_a_job_of_an_older_form_is_known_once_it_starts(platform: Platform) -> None:
    metadata = {"id": "old", "runtime": "tiny", "tasktype": "text-to-image", "prefix": "output"}
    platform.api.post("/v1alpha2", json={"task": {"metadata": metadata, "content": {}}})
    [job] = platform.delivered()["tiny"]
    assert platform.api.get("/v1/jobs/old").status_code == 404
    platform.put(job.key, keys.STARTED, {"started_at": NOW.isoformat(), "attempt": 1})
    running = state(platform, "old")
    assert (running["id"], running["status"], running["started_at"]) == ("old", "running", "2026-11-24T12:00:00Z")
    assert (running["runtime"], running["task"], running["output_location"]) == (None, None, None)
    document = f"s3://{BUCKET}/{job.document_key}"
    platform.put(job.key, keys.RESULT, result(id="old", key=job.key, form=Form.V1ALPHA2, output_url=document))
    done = state(platform, "old")
    assert (done["id"], done["status"]) == ("old", "succeeded")
    assert done["output_location"] == f"s3://{BUCKET}/output/old"


@pytest.mark.parametrize(
    ("noted", "runtime", "task"),
    [
        ({"runtime": "tiny", "task": "pipeline"}, "tiny", "pipeline"),
        ({"runtime": "tiny", "task": "a task of a newer agent", "status": "odd", "links": 1}, "tiny", None),
        ({"runtime": None, "task": ["x"], "started_at": None, "id": "other"}, None, None),
    ],
)
def test_what_an_agent_notes_of_a_job_that_runs_is_shown_as_far_as_it_is_understood(
    platform: Platform, noted: dict[str, Any], runtime: str | None, task: str | None
) -> None:
    platform.put("old~aaaaaaaaaaaa", keys.STARTED, noted)
    running = state(platform, "old")
    assert (running["id"], running["status"]) == ("old", "running")
    assert (running["runtime"], running["task"]) == (runtime, task)
    assert running["started_at"]


@pytest.mark.parametrize("job_id", ["my job (2)", "katzen~bild", "猫", "50%", "a:b@c", "%41", "a?b#c"])
def test_a_job_of_an_older_form_is_asked_for_by_its_id_whatever_characters_that_has(
    platform: Platform, job_id: str
) -> None:
    metadata = {"id": job_id, "runtime": "tiny", "tasktype": "text-to-image", "prefix": "output"}
    platform.api.post("/v1alpha2", json={"task": {"metadata": metadata, "content": {}}})
    [job] = platform.delivered()["tiny"]
    platform.put(job.key, keys.RESULT, result(id=job_id, key=job.key, form=Form.V1ALPHA2))
    done = state(platform, quote(job_id, safe=""))
    assert (done["id"], done["status"]) == (job_id, "succeeded")
    assert platform.api.get(done["links"]["self"]).json()["id"] == job_id


def test_the_key_of_a_record_is_no_id(platform: Platform) -> None:
    platform.put("old~aaaaaaaaaaaa", keys.RESULT, result(id="old"))
    assert platform.api.get("/v1/jobs/old~aaaaaaaaaaaa").status_code == 404


def test_of_several_jobs_under_one_old_id_the_newest_is_meant(platform: Platform) -> None:
    platform.put("old~aaaaaaaaaaaa", keys.RESULT, result(id="old", seeds=[1]))
    with clock_ahead(timedelta(hours=1)):
        platform.put("old~000000000000", keys.RESULT, result(id="old", seeds=[2]))
    assert state(platform, "old")["seeds"] == [2]


def test_an_old_id_may_have_been_used_more_often_than_a_page_of_s3_lists(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        with clock_ahead(timedelta(hours=seed % 2)):
            platform.put(f"old~{seed:012}", keys.RESULT, result(id="old", seeds=[seed]))
    monkeypatch.setattr(platform.aws.s3, "list_objects_v2", partial(platform.aws.s3.list_objects_v2, MaxKeys=1))
    assert state(platform, "old")["seeds"] == [1]


def test_an_id_that_begins_another_is_not_mistaken_for_it(platform: Platform) -> None:
    submit(platform)
    assert platform.api.get("/v1/jobs/min").status_code == 404


def test_a_content_in_transit_is_no_job(platform: Platform) -> None:
    platform.put("old~abcdefabcdef", keys.CONTENT, {})
    assert platform.api.get("/v1/jobs/old").status_code == 404


def test_a_job_that_does_not_exist_is_a_problem(platform: Platform) -> None:
    answer = platform.api.get("/v1/jobs/nobody")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": 'there is no job "nobody"',
    }


@pytest.mark.parametrize("job_id", ["%2e%2e", "a%2Fb", "a%5Cb", "a%0Ab", "x" * 129])
def test_what_can_be_no_id_is_refused(platform: Platform, job_id: str) -> None:
    answer = platform.api.get(f"/v1/jobs/{job_id}")
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"
