"""How objects are named and written."""

from collections.abc import Iterator
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from agent.retry import LONGEST_BACKOFF_S, backoff_s
from agent.store import Store, media_type
from contract.result import Result


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="bucket")
        yield Store(s3, "bucket")


@pytest.mark.parametrize(
    ("data", "extension", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n...", ".png", "image/png"),
        (b"\xff\xd8\xff\xe0...", ".jpg", "image/jpeg"),
        (b"GIF87a...", ".gif", "image/gif"),
        (b"GIF89a...", ".gif", "image/gif"),
        (b"RIFF....WEBPVP8 ", ".webp", "image/webp"),
        (b"\0\0\0 ftypisom", ".mp4", "video/mp4"),
        (b"\x1a\x45\xdf\xa3...", ".webm", "video/webm"),
        (b"\0\0\0 ftypavif", ".avif", "image/avif"),
        (b"\0\0\0 ftypM4A ", ".m4a", "audio/mp4"),
        (b"fLaC...", ".flac", "audio/flac"),
        (b"RIFF....WAVE", ".wav", "audio/wav"),
        (b"glTF...", ".glb", "model/gltf-binary"),
        (b"RIFF....AVI ", ".bin", "application/octet-stream"),
        (b"", ".bin", "application/octet-stream"),
    ],
)
def test_kind_of_a_file_is_told_from_its_bytes(data: bytes, extension: str, content_type: str) -> None:
    assert media_type(data) == (extension, content_type)


def result(images: list[str]) -> Result:
    return Result(id="j", key="j", runtime="r", status="succeeded", images=images, finished_at=datetime.now(UTC))


def test_result_is_written_once_and_the_second_writer_gets_the_first_one(store: Store) -> None:
    assert store.result("j") is None
    first = result(["s3://b/1.png"])
    assert store.put_result(first) == first
    assert store.put_result(result(["s3://b/2.png"])) == first
    assert store.result("j") == first


def test_error_that_is_not_about_a_missing_result_is_an_error(store: Store) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        Store(store._s3, "elsewhere").result("j")


def test_waits_between_attempts_double_to_a_limit_with_jitter() -> None:
    for attempt, longest in [(1, 5), (2, 10), (4, 40), (12, LONGEST_BACKOFF_S), (10_000, LONGEST_BACKOFF_S)]:
        drawn = {backoff_s(attempt, 5) for _ in range(200)}
        assert longest // 2 <= min(drawn) <= max(drawn) <= longest
        assert len(drawn) > 1
    assert backoff_s(3, 0) == 0
