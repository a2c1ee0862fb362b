"""`GET /v1/jobs/{id}?wait=…`: an answer as soon as the job has ended, and no thread held until then."""

import asyncio
import threading
import time
from typing import Any

import httpx
import pytest

from api import waiting
from api.app import create_app
from api.record import Records
from contract import keys
from tests.api.conftest import Platform

END = {"id": "mine", "key": "mine", "runtime": "tiny", "status": "succeeded", "finished_at": "2026-11-24T12:00:00Z"}


def submit(platform: Platform) -> None:
    assert platform.api.post("/v1/jobs", json={"id": "mine", "runtime": "tiny", "input": {}}).status_code == 202


def test_whoever_waits_hears_of_the_end_at_once(platform: Platform) -> None:
    submit(platform)
    ending = threading.Timer(0.5, lambda: platform.put("mine", keys.RESULT, END))
    began = time.monotonic()
    ending.start()
    state = platform.api.get("/v1/jobs/mine", params={"wait": 20}).json()
    assert state["status"] == "succeeded"
    assert 0.5 <= time.monotonic() - began < 10
    ending.join()


def test_a_job_that_has_ended_is_not_waited_for(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(platform)
    platform.put("mine", keys.RESULT, END)
    monkeypatch.setattr(waiting.Waiting, "ended", None)
    assert platform.api.get("/v1/jobs/mine", params={"wait": 20}).json()["status"] == "succeeded"


def test_a_wait_that_was_in_vain_ends_in_time_with_the_state_as_it_is(platform: Platform) -> None:
    submit(platform)
    began = time.monotonic()
    state = platform.api.get("/v1/jobs/mine", params={"wait": 0.3}).json()
    assert state["status"] == "queued"
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("seconds", [-1, 26, "long"])
def test_a_wait_is_shorter_than_what_api_gateway_waits_for(platform: Platform, seconds: Any) -> None:
    assert platform.api.get("/v1/jobs/mine", params={"wait": seconds}).status_code == 422


def test_many_who_wait_hold_no_threads_and_share_their_looks(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(platform)
    looks: list[float] = []
    really = platform.aws.s3.head_object

    def look(**asked: Any) -> Any:
        looks.append(time.monotonic())
        return really(**asked)

    monkeypatch.setattr(platform.aws.s3, "head_object", look)
    monkeypatch.setattr(waiting, "LOOKS_PER_SECOND", 1000)
    app = create_app(platform.settings, platform.aws)
    before = threading.active_count()

    async def wait_all() -> tuple[list[httpx.Response], float, int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://darkroom.test", timeout=60) as client:
            waits = [asyncio.create_task(client.get("/v1/jobs/mine", params={"wait": 25})) for _ in range(200)]
            while len(looks) < 200:  # every one of them waits
                await asyncio.sleep(0.1)
            began = time.monotonic()
            other = await client.get("/healthz")
            answered = time.monotonic() - began
            threads = threading.active_count()
            assert other.status_code == 200
            await asyncio.to_thread(platform.put, "mine", keys.RESULT, END)
            return await asyncio.gather(*waits), answered, threads

    answers, answered, threads = asyncio.run(wait_all())
    assert {answer.json()["status"] for answer in answers} == {"succeeded"}
    assert threads - before < 100
    assert answered < 5


def test_who_has_gone_is_not_waited_for(platform: Platform) -> None:
    submit(platform)
    looks: list[Any] = []
    platform.aws.s3.meta.events.register("before-call.s3.HeadObject", lambda **_: looks.append(1))

    async def gone() -> bool:
        return True

    line = waiting.Waiting(Records(platform.aws, platform.settings.s3_output_bucket))
    assert asyncio.run(line.ended("mine", 20, gone)) is False
    assert looks == []
