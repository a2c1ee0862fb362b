"""A job's record in S3: objects that are written once each, by the API or by the agent that serves the job."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from api.aws import Clients
from contract import keys


@dataclass(frozen=True)
class Record:
    """What is known of a job without reading it.

    Attributes:
        key: The record's name.
        objects: When each of its objects was written, by name.
    """

    key: str
    objects: dict[str, datetime]

    @property
    def job_id(self) -> str:
        """The id of the job that it is of."""
        return job_id(self.key)


def job_id(key: str) -> str:
    """Return the id of the job whose record has the name `key`."""
    return unquote(key.partition("~")[0])


class Records:
    """The jobs' records in the output bucket."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._s3 = clients.s3
        self._bucket = bucket

    def create(self, key: str, name: str, document: dict[str, Any]) -> bool:
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
        return max(found, key=lambda record: max(record.objects.values()), default=None)

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

    def read(self, key: str, name: str) -> dict[str, Any] | None:
        """Return an object of the record `key`, or None when there is none."""
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=keys.record(key, name))["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        document = json.loads(body)
        return document if isinstance(document, dict) else None

    def _list(self, prefix: str) -> list[Record]:
        objects: dict[str, dict[str, datetime]] = {}
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                key, _, name = item["Key"].removeprefix(f"{keys.JOBS}/").partition("/")
                # A content in transit is no record: those of the older forms lie in a folder of their own.
                if name != keys.CONTENT:
                    objects.setdefault(key, {})[name] = item["LastModified"]
        return [Record(key, names) for key, names in objects.items()]
