"""`GET /v1/jobs`: all jobs, newest first, a page at a time."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract import keys
from contract.job import Form, Task
from contract.result import Result
from tests.api.conftest import BUCKET, Platform


def submit(platform: Platform, *ids: str, runtime: str = "tiny") -> None:
    for job_id in ids:
        body = {"id": job_id, "runtime": runtime, "input": {"prompt": "x"} if runtime != "flow" else WORKFLOW}
        assert platform.api.post("/v1/jobs", json=body).status_code == 202


WORKFLOW = {"1": {"class_type": "EmptyImage", "inputs": {}}}


def end(platform: Platform, job_id: str, key: str | None = None, **known: Any) -> None:
    facts: dict[str, Any] = {
        "id": job_id,
        "key": key or job_id,
        "runtime": "tiny",
        "task": Task.TEXT_TO_IMAGE,
        "form": Form.V1,
        "status": "succeeded",
        "output_url": f"s3://{BUCKET}/output/{job_id}/{job_id}-0a1b.out",
        "images": [f"s3://{BUCKET}/output/{job_id}/{job_id}-0a1b-1.png"],
        "parameters": {"steps": 20},
        "finished_at": datetime.now(UTC),
    }
    platform.put(key or job_id, keys.RESULT, Result(**(facts | known)).model_dump(mode="json"))


def listed(platform: Platform, **query: Any) -> dict[str, Any]:
    answer = platform.api.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def ids(page: dict[str, Any]) -> list[str]:
    return [job["id"] for job in page["jobs"]]


def test_jobs_are_listed_newest_first_as_each_of_them_fares(platform: Platform) -> None:
    assert listed(platform) == {"jobs": [], "cursor": None}
    submit(platform, "a", "b", "c")
    end(platform, "a")
    platform.put("b", keys.STARTED, {"started_at": "2026-11-24T12:00:00Z"})
    platform.put("b", keys.PROGRESS, {"progress": 0.4, "preview": "data:image/png;base64,AAAA"})
    page = listed(platform)
    assert [(job["id"], job["status"]) for job in page["jobs"]] == [
        ("c", "queued"),
        ("b", "running"),
        ("a", "succeeded"),
    ]
    waits, runs, done = page["jobs"]
    assert waits == platform.api.get("/v1/jobs/c").json()
    assert (runs["progress"]["progress"], runs["progress"]["preview"]) == (0.4, None)
    assert (done["parameters"], done["links"]) == ({"steps": 20}, {"self": "/v1/jobs/a"})
    assert done["images"][0]["url"].startswith("https://")
    assert page["cursor"] is None


def test_pages_follow_each_other_by_cursor_without_a_gap_though_new_jobs_come(platform: Platform) -> None:
    submit(platform, *"abcde")
    first = listed(platform, limit=2)
    submit(platform, "f")
    second = listed(platform, limit=2, cursor=first["cursor"])
    third = listed(platform, limit=2, cursor=second["cursor"])
    assert [ids(page) for page in (first, second, third)] == [["e", "d"], ["c", "b"], ["a"]]
    assert third["cursor"] is None
    assert listed(platform, limit=6)["cursor"] is None


def test_a_repeated_request_is_listed_once(platform: Platform) -> None:
    submit(platform, "a", "a")
    assert ids(listed(platform)) == ["a"]


def test_a_request_that_was_refused_is_not_listed(platform: Platform) -> None:
    submit(platform, "a")
    for change in ({"context": 1}, {"runtime": "nobody"}, {"input": {"steps": 0}}):
        platform.api.post("/v1/jobs", json={"id": "a", "runtime": "tiny", "input": {"prompt": "x"}} | change)
    assert ids(listed(platform)) == ["a"]


def test_jobs_can_be_filtered_by_status_and_by_runtime(platform: Platform) -> None:
    submit(platform, "a", "b")
    submit(platform, "c", runtime="flow")
    end(platform, "a")
    assert ids(listed(platform, status="succeeded")) == ["a"]
    assert ids(listed(platform, status="queued")) == ["c", "b"]
    assert ids(listed(platform, runtime="FLOW")) == ["c"]
    assert ids(listed(platform, runtime="flow", status="failed")) == []
    page = listed(platform, status="queued", limit=1)
    assert ids(page) == ["c"]
    assert ids(listed(platform, status="queued", limit=1, cursor=page["cursor"])) == ["b"]


def test_a_filter_that_leaves_most_out_looks_at_200_jobs_a_page(platform: Platform) -> None:
    now = datetime.now(UTC)
    for number in range(250):
        platform.aws.s3.put_object(Bucket=BUCKET, Key=keys.index(now - timedelta(seconds=number), f"gone-{number}"))
    submit(platform, "a")
    end(platform, "old")
    platform.aws.s3.put_object(Bucket=BUCKET, Key=keys.index(now - timedelta(days=1), "old"))
    page = listed(platform, status="succeeded")
    assert ids(page) == []
    page = listed(platform, status="succeeded", cursor=page["cursor"])
    assert (ids(page), page["cursor"]) == (["old"], None)


def test_a_page_is_no_longer_than_lambda_can_answer_however_much_its_jobs_hold(platform: Platform) -> None:
    """API Gateway would say "internal server error" to a page of more than 6 MB, and nobody could look past it."""
    for name in "abcdefghijklmnopqrstuvw":
        body = {"id": name, "runtime": "tiny", "input": {"prompt": "x"}, "context": "x" * 200_000}
        assert platform.api.post("/v1/jobs", json=body).status_code == 202
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        answer = platform.api.get("/v1/jobs", params={"limit": 100, "cursor": cursor})
        assert len(json.dumps(answer.text)) < 6_000_000
        found += ids(answer.json())
        cursor = answer.json()["cursor"]
    assert "".join(found) == "wvutsrqponmlkjihgfedcba"


def test_a_job_that_has_ended_costs_one_read(platform: Platform) -> None:
    submit(platform, "a", "b")
    end(platform, "a")
    end(platform, "b")
    calls: list[str] = []
    platform.aws.s3.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    try:
        assert len(listed(platform)["jobs"]) == 2
    finally:
        platform.aws.s3.meta.events.unregister("before-call.s3")
    assert calls == ["ListObjectsV2", "GetObject", "GetObject"]


def test_a_job_of_an_older_form_is_listed_by_its_agent(platform: Platform) -> None:
    key = "my%20job~0123456789ab"
    platform.aws.s3.put_object(Bucket=BUCKET, Key=keys.index(datetime.now(UTC), key))
    platform.put(key, keys.STARTED, {"started_at": "2026-11-24T12:00:00Z", "runtime": "tiny"})
    [job] = listed(platform)["jobs"]
    assert (job["id"], job["status"], job["runtime"]) == ("my job", "running", "tiny")
    assert job["links"]["self"] == "/v1/jobs/my%20job"


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"limit": 0}, "query.limit"),
        ({"limit": 101}, "query.limit"),
        ({"cursor": "§"}, "query.cursor"),
        ({"cursor": "bm9uc2Vuc2U"}, "query.cursor"),
        ({"status": "lost"}, "query.status"),
    ],
)
def test_what_is_no_page_is_refused(platform: Platform, query: dict[str, Any], where: str) -> None:
    answer = platform.api.get("/v1/jobs", params=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == where
