"""Upload of a model: in parallel parts, each checked by its SHA-256, going on where an earlier attempt ended."""

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

PART_BYTES = 64 * 1024**2
MAX_PARTS = 10_000  # S3's limit
THREADS = 8


class UploadError(Exception):
    """The upload cannot be done; the text says why, and how to mend it."""


def upload(
    s3: Any, file: Path, bucket: str, key: str, progress: Callable[[int], None], part_bytes: int = PART_BYTES
) -> bool:
    """Bring `file` to the bucket; return False if it was there.

    Args:
        progress: Is told how many bytes more are there, from several threads.
        part_bytes: Size of a part; larger where S3's limit of parts asks for it.

    Raises:
        UploadError: The file is empty, or S3 put together another one.
        BotoCoreError, ClientError: S3 refused or is out of reach; the parts that are there stay for the next attempt.
    """
    size = file.stat().st_size
    if not size:
        raise UploadError(f"{file} is empty: download it again")
    part_bytes = max(part_bytes, -(-size // MAX_PARTS))
    digests = _digests(file, part_bytes)
    if _checksum(s3, bucket, key) == _joined(digests):
        progress(size)
        return False
    upload_id, there = _begun(s3, bucket, key)

    def send(number: int) -> None:
        length = min(part_bytes, size - (number - 1) * part_bytes)
        if there.get(number) != digests[number - 1]:
            with file.open("rb") as stream:
                stream.seek((number - 1) * part_bytes)
                body = stream.read(length)
            # S3 compares the body with this, and refuses another: also what changed on our disk since.
            s3.upload_part(
                Bucket=bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
                ChecksumSHA256=digests[number - 1],
            )
        progress(length)

    with ThreadPoolExecutor(THREADS) as pool:
        sent = [pool.submit(send, number) for number in range(1, len(digests) + 1)]
        try:
            for part in sent:
                part.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _complete(s3, bucket, key, upload_id, digests)
    return True


def _digests(file: Path, part_bytes: int) -> list[str]:
    """Return the SHA-256 of each part, in base64 as S3 writes it."""
    digests = []
    with file.open("rb") as stream:
        while part := stream.read(part_bytes):
            digests.append(base64.b64encode(hashlib.sha256(part).digest()).decode())
    return digests


def _joined(digests: list[str]) -> str:
    """Return S3's checksum of an object of parts: that of the parts' checksums."""
    joined = hashlib.sha256(b"".join(map(base64.b64decode, digests))).digest()
    return base64.b64encode(joined).decode()


def _checksum(s3: Any, bucket: str, key: str) -> str | None:
    """Return the checksum of the object that is there, if one is."""
    try:
        found = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED").get("ChecksumSHA256", "")
        # S3 appends how many parts there are.
        return str(found.partition("-")[0])
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            return None
        raise


def _begun(s3: Any, bucket: str, key: str) -> tuple[str, dict[int, str]]:
    """Return an upload of this key that was begun and not ended, with its parts' checksums; else a new one."""
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key)
    for upload_id in [item["UploadId"] for page in pages for item in page.get("Uploads", []) if item["Key"] == key]:
        # Parts of another file have other checksums, and are replaced.
        return upload_id, {
            part["PartNumber"]: part.get("ChecksumSHA256", "") for part in _parts(s3, bucket, key, upload_id)
        }
    made = s3.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE")
    return made["UploadId"], {}


def _parts(s3: Any, bucket: str, key: str, upload_id: str) -> list[dict[str, Any]]:
    pages = s3.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload_id)
    return [part for page in pages for part in page.get("Parts", [])]


def _complete(s3: Any, bucket: str, key: str, upload_id: str, digests: list[str]) -> None:
    etags = {part["PartNumber"]: part["ETag"] for part in _parts(s3, bucket, key, upload_id)}
    # S3 compares each checksum with that of the part it has, and leaves out parts that are not named.
    parts = [
        {"PartNumber": number, "ETag": etags[number], "ChecksumSHA256": digest}
        for number, digest in enumerate(digests, start=1)
    ]
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts})
    if (found := _checksum(s3, bucket, key)) != _joined(digests):
        s3.delete_object(Bucket=bucket, Key=key)
        raise UploadError(f"S3 put together another {key} ({found}); that was deleted: run the same command again")
