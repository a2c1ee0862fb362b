"""The output bucket: pictures, output documents and job records."""

import json
from concurrent.futures import ThreadPoolExecutor
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
    (4, b"ftyp", ".mp4", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", ".webm", "video/webm"),
]
_PARALLEL_UPLOADS = 4


def media_type(data: bytes) -> tuple[str, str]:
    """Return the file name extension and the content type of a picture or video, told from its first bytes."""
    for start, magic, extension, content_type in _MAGIC:
        if data.startswith(magic, start):
            return extension, content_type
    return ".bin", "application/octet-stream"


def error_code(error: ClientError) -> str:
    """Return AWS's name for an error, such as `NoSuchKey`; for a HEAD request that is its HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


class Store:
    """The bucket; every method raises botocore's errors."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
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

    def put_images(self, images: list[tuple[str, bytes]]) -> None:
        """Store pictures under their keys."""
        with ThreadPoolExecutor(min(_PARALLEL_UPLOADS, len(images) or 1)) as pool:
            for _ in pool.map(lambda image: self._put(image[0], image[1], media_type(image[1])[1]), images):
                pass

    def put_json(self, key: str, document: Any) -> None:
        """Store `document` as JSON."""
        self._put(key, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), _JSON)

    def read_json(self, key: str) -> Any:
        """Return the JSON stored under `key`.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)
