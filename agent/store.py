"""The output bucket: pictures, output documents and job records."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from contract import keys
from contract.result import Result

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_JSON = "application/json"
# Where in a file of each kind which bytes are.
_MAGIC = [
    (0, b"\x89PNG\r\n\x1a\n", ".png", "image/png"),
    (0, b"\xff\xd8\xff", ".jpg", "image/jpeg"),
    (0, b"GIF8", ".gif", "image/gif"),
    (8, b"WEBP", ".webp", "image/webp"),
    (4, b"ftypavif", ".avif", "image/avif"),
    (4, b"ftypqt", ".mov", "video/quicktime"),
    (4, b"ftypM4A", ".m4a", "audio/mp4"),
    (4, b"ftyp", ".mp4", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", ".webm", "video/webm"),
    (0, b"fLaC", ".flac", "audio/flac"),
    (0, b"OggS", ".ogg", "audio/ogg"),
    (0, b"ID3", ".mp3", "audio/mpeg"),
    (0, b"\xff\xfb", ".mp3", "audio/mpeg"),
    (8, b"WAVE", ".wav", "audio/wav"),
    (0, b"glTF", ".glb", "model/gltf-binary"),
]
_PARALLEL_UPLOADS = 8


def media_type(data: bytes) -> tuple[str, str]:
    """Return the file name extension and the content type of a picture, film or sound, told from its first bytes."""
    for start, magic, extension, content_type in _MAGIC:
        if data.startswith(magic, start):
            return extension, content_type
    return ".bin", "application/octet-stream"


def error_code(error: ClientError) -> str:
    """Return AWS's name for an error, such as `NoSuchKey`; for a HEAD request that is its HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


@dataclass(frozen=True)
class Item:
    """What is to be stored under a key."""

    key: str
    body: bytes
    content_type: str


def json_item(key: str, document: Any) -> Item:
    """Return `document` as it is stored as JSON."""
    return Item(key, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), _JSON)


class Store:
    """The bucket; every method raises botocore's errors. Thread-safe."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._uploads = ThreadPoolExecutor(_PARALLEL_UPLOADS, thread_name_prefix="upload")
        self.bucket = bucket

    def result(self, key: str) -> Result | None:
        """Return the result of the job `key`, or None if it has not ended."""
        try:
            return Result.model_validate(self.read_json(keys.record(key, keys.RESULT)))
        except ClientError as error:
            if error_code(error) == "NoSuchKey":
                return None
            raise

    def put_result(self, result: Result) -> Result:
        """Store the result unless the job has one; return the one that is stored."""
        try:
            self._s3.put_object(
                Bucket=self.bucket,
                Key=keys.record(result.key, keys.RESULT),
                Body=result.model_dump_json().encode(),
                ContentType=_JSON,
                IfNoneMatch="*",
            )
        except ClientError as error:
            # A 409 (two writers at once) is an error like any other: the caller tries again.
            if error_code(error) not in {"PreconditionFailed", "412"}:
                raise
            existing = self.result(result.key)
            if existing is None:
                raise
            return existing
        return result

    def is_cancelled(self, key: str) -> bool:
        """Return whether somebody wants the job `key` to end."""
        try:
            self._s3.head_object(Bucket=self.bucket, Key=keys.record(key, keys.CANCEL))
        except ClientError as error:
            if error_code(error) not in {"404", "NoSuchKey"}:
                raise
            return False
        return True

    def put_all(self, items: Sequence[Item]) -> None:
        """Store everything, side by side; all have been tried when one has failed."""
        for upload in wait([self._uploads.submit(self.put, item) for item in items]).done:
            upload.result()

    def put_json(self, key: str, document: Any) -> None:
        """Store `document` as JSON."""
        self.put(json_item(key, document))

    def read_json(self, key: str) -> Any:
        """Return the JSON stored under `key`.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def put(self, item: Item) -> None:
        """Store one thing."""
        self._s3.put_object(Bucket=self.bucket, Key=item.key, Body=item.body, ContentType=item.content_type)
