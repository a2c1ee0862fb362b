"""A job's record in S3: objects that are written once each, by the API or by the agent that serves the job."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from api.aws import Clients
from contract import keys

Document = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """An object as it was written at some time. When it is written again, that is another one."""

    at: datetime
    etag: str
    size_bytes: int


@dataclass(frozen=True)
class Record:
    """What is known of a job without reading it.

    Attributes:
        key: The record's name.
        objects: Its objects, by name.
    """

    key: str
    objects: dict[str, Written]

    @property
    def job_id(self) -> str:
        """The id of the job that it is of."""
        return job_id(self.key)


def job_id(key: str) -> str:
    """Return the id of the job whose record has the name `key`."""
    return unquote(key.partition("~")[0])


def parse(stored: bytes) -> Document | None:
    """Return an object of a record, or None where there is none."""
    document = json.loads(stored) if stored else None
    return document if isinstance(document, dict) else None


class Records:
    """The jobs' records in the output bucket."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._s3 = clients.s3
        self._bucket = bucket

    def create(self, key: str, name: str, document: Document) -> bool:
        """Write an object of the record `key`; return False, and leave it as it is, when there is one."""
        try:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=keys.record(key, name),
                Body=json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "PreconditionFailed":
                return False
            raise
        return True

    def find(self, job_id: str) -> Record | None:
        """Return the record of the job with this id, or None.

        The older forms may use an id again; then the newest is meant.
        """
        name = keys.record_name(job_id)
        found = self._list(keys.record(name)) or self._list(f"{keys.JOBS}/{name}~")
        return max(found, key=_last_written, default=None)

    def at(self, key: str) -> Record | None:
        """Return the record with this name, or None."""
        return next(iter(self._list(keys.record(key))), None)

    def has(self, key: str, name: str) -> bool:
        """Return whether there is an object of the record `key`, by the cheapest of questions."""
        try:
            self._s3.head_object(Bucket=self._bucket, Key=keys.record(key, name))
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                return False
            raise
        return True

    def read(self, key: str, name: str) -> Document | None:
        """Return an object of the record `key`, or None when there is none."""
        return parse(self.fetch(key, name))

    def fetch(self, key: str, name: str) -> bytes:
        """Return an object of the record `key` as it is stored, empty when there is none."""
        try:
            return self._s3.get_object(Bucket=self._bucket, Key=keys.record(key, name))["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return b""
            raise

    def _list(self, prefix: str) -> list[Record]:
        objects: dict[str, dict[str, Written]] = {}
        # Nearly always one page: boto3's paginator would cost each look a third of a millisecond.
        token: dict[str, Any] = {}
        while True:
            page = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **token)
            for item in page.get("Contents", []):
                key, _, name = item["Key"].removeprefix(f"{keys.JOBS}/").partition("/")
                # A content in transit is no record: those of the older forms lie in a folder of their own.
                if name != keys.CONTENT:
                    objects.setdefault(key, {})[name] = Written(item["LastModified"], item["ETag"], item["Size"])
            if not page["IsTruncated"]:
                return [Record(key, written) for key, written in objects.items()]
            token = {"ContinuationToken": page["NextContinuationToken"]}


def _last_written(record: Record) -> datetime:
    return max(each.at for each in record.objects.values())
