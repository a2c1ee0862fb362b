"""`GET /v1/runtimes`: what jobs can ask for, and what waits for each."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from api.queues import Depth, Queues
from api.routing import Runtime
from tests.api.conftest import RUNTIMES, Platform

SDWEBUI = ["extra-batch-images", "extra-single-image", "image-to-image", "text-to-image"]


def with_queues(platform: Platform) -> list[dict[str, Any]]:
    return [each | {"queueUrl": platform.queues[each["name"]]} for each in RUNTIMES]


def test_runtimes_are_listed_with_what_they_do(platform: Platform) -> None:
    tiny = {"name": "tiny", "type": "sdwebui", "model": "tiny.safetensors", "dynamic": False, "tasks": SDWEBUI}
    dynamic = {"name": "any", "type": "sdwebui", "model": None, "dynamic": True, "tasks": SDWEBUI}
    flow = {"name": "flow", "type": "comfyui", "model": None, "dynamic": False, "tasks": ["pipeline"]}
    listed = platform.api.get("/v1/runtimes").json()
    assert listed == {"runtimes": [each | {"queue": None} for each in (tiny, dynamic, flow)]}


def test_where_the_table_has_queues_it_is_told_how_many_jobs_wait(platform: Platform) -> None:
    platform.publish_runtimes(with_queues(platform))
    for _ in range(3):
        platform.api.post("/v1/jobs", json={"runtime": "tiny", "input": {}})
    platform.sqs.receive_message(QueueUrl=platform.queues["tiny"])
    answer = platform.api.get("/v1/runtimes")
    depths = {each["name"]: each["queue"] for each in answer.json()["runtimes"]}
    nothing = {"waiting": 0, "taken": 0}
    assert depths == {"tiny": {"waiting": 2, "taken": 1}, "any": nothing, "flow": nothing}
    assert "sqs" not in answer.text, "nobody learns a queue's address, which has the account's number in it"
    refused = platform.api.post("/v1/jobs", json={"runtime": "nobody", "input": {}})
    assert "sqs" not in refused.text


def test_a_job_that_waits_tells_how_many_do(platform: Platform) -> None:
    platform.publish_runtimes(with_queues(platform))
    platform.api.post("/v1/jobs", json={"id": "mine", "runtime": "tiny", "input": {}})
    assert platform.api.get("/v1/jobs/mine").json()["queue"] == {"waiting": 1, "taken": 0}


def test_a_depth_is_asked_for_once_a_second_at_most(platform: Platform) -> None:
    now = 100.0
    queues = Queues(platform.aws, clock=lambda: now)
    tiny = Runtime(name="tiny", type="sdwebui", queue_url=platform.queues["tiny"])
    assert queues.depth(tiny) == Depth(waiting=0, taken=0)
    platform.sqs.send_message(QueueUrl=platform.queues["tiny"], MessageBody="x")
    now = 100.9
    assert queues.depth(tiny) == Depth(waiting=0, taken=0)
    now = 101.0
    assert queues.depth(tiny) == Depth(waiting=1, taken=0)


def test_a_depth_that_cannot_be_known_is_no_reason_to_say_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "secret"}}, "GetQueueAttributes")

    platform.publish_runtimes(with_queues(platform))
    platform.api.post("/v1/jobs", json={"id": "mine", "runtime": "tiny", "input": {}})
    monkeypatch.setattr(platform.aws.sqs, "get_queue_attributes", refuse)
    with capture_logs() as logs:
        state = platform.api.get("/v1/jobs/mine")
        runtimes = platform.api.get("/v1/runtimes").json()["runtimes"]
    assert (state.status_code, state.json()["queue"]) == (200, None)
    assert {each["queue"] for each in runtimes} == {None}
    assert {"event": "queue depth not known", "log_level": "warning", "error": "ClientError"} in logs
