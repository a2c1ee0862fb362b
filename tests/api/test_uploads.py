"""`POST /v1/uploads`: inputs go straight to the bucket, by a request that is good for one file."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.conftest import BUCKET, Platform


def test_a_file_gets_a_place_of_its_own_and_a_request_that_only_it_fits(platform: Platform) -> None:
    asked = {"content_type": "image/png", "size": 70}
    answer = platform.api.post("/v1/uploads", json=asked)
    assert answer.status_code == 201
    told = answer.json()
    assert (told["method"], told["headers"]) == ("PUT", {"Content-Type": "image/png"})
    assert told["s3"].startswith(f"s3://{BUCKET}/uploads/")
    assert told["s3"].endswith(".png")
    left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    link = httpx.URL(told["url"])
    assert link.path.endswith(told["s3"].removeprefix(f"s3://{BUCKET}/"))
    assert link.params["X-Amz-Expires"] == "900"
    # What is signed cannot be changed: S3 refuses another type, and another length.
    assert link.params["X-Amz-SignedHeaders"] == "content-length;content-type;host"
    assert platform.api.post("/v1/uploads", json=asked).json()["s3"] != told["s3"]


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"content_type": "text/html", "size": 1}, "content_type"),
        ({"content_type": "image/png\r\nX: y", "size": 1}, "content_type"),
        ({"content_type": "image/png", "size": 0}, "size"),
        ({"content_type": "image/png", "size": 64 * 2**20 + 1}, "size"),
        ({"content_type": "image/png", "size": 1, "key": "jobs/mine/job.json"}, "key"),
        ({"content_type": "image/png"}, "size"),
    ],
)
def test_what_is_no_input_gets_no_place(platform: Platform, asked: dict[str, Any], where: str) -> None:
    answer = platform.api.post("/v1/uploads", json=asked)
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [where]


def test_the_largest_input_is_as_large_as_agents_take_it(platform: Platform) -> None:
    asked = {"content_type": "video/mp4", "size": 64 * 2**20}
    assert platform.api.post("/v1/uploads", json=asked).json()["s3"].endswith(".mp4")
