"""The outbox: what is about to be recorded and published is noted there first, and struck out when both are done.

A process that dies in between leaves its note, from which reconciliation does the rest.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from api.aws import Clients
from contract import keys

log = structlog.get_logger()

# As in a job's digest elsewhere: enough to tell the requests under one id from each other.
_DIGEST_LENGTH = 12


@dataclass(frozen=True)
class Note:
    """A job that is about to be recorded and published.

    Attributes:
        key: The name of the job's record.
        document: Its `job.json`.
        content: What its inference server is to be asked.
    """

    key: str
    document: dict[str, Any]
    content: dict[str, Any]

    @property
    def place(self) -> str:
        """The note's S3 key: requests that contend for an id have a note each."""
        return keys.outbox(self.key, self.document["digest"][:_DIGEST_LENGTH])


class Outbox:
    """The notes, in the output bucket."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._s3 = clients.s3
        self._bucket = bucket

    def put(self, note: Note) -> None:
        """Write `note`."""
        text = json.dumps(
            {"key": note.key, "document": note.document, "content": note.content},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        self._s3.put_object(Bucket=self._bucket, Key=note.place, Body=text.encode(), ContentType="application/json")

    def read(self, place: str) -> Note | None:
        """Return the note at an S3 key, or None when it has been struck out."""
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=place)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return Note(**json.loads(body))

    def strike(self, place: str) -> None:
        """Remove a note. One that cannot be removed does no harm: what it says is done once more, to no effect."""
        try:
            self._s3.delete_object(Bucket=self._bucket, Key=place)
        except (ClientError, BotoCoreError) as error:
            log.warning("note not struck out", error=type(error).__name__)

    def left(self, before: datetime) -> Iterator[str]:
        """Return the S3 keys of the notes that were written before a time: nobody works on those any more."""
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{keys.OUTBOX}/"):
            for item in page.get("Contents", []):
                if item["LastModified"] <= before:
                    yield item["Key"]
