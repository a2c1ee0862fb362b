import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime

from api.aws import Clients
from contract import keys

_ENTRY = re.compile(r"\d{13}~.+", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """Entries of the index, newest first, and whether there are more."""

    entries: list[str]
    more: bool


class Index:
    """The list of all jobs in the output bucket, newest first: an empty object each, whose name says all."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._s3 = clients.s3
        self._bucket = bucket

    def add(self, created_at: datetime, key: str) -> None:
        """List the job `key`; doing so again changes nothing."""
        self._s3.put_object(Bucket=self._bucket, Key=keys.index(created_at, key), Body=b"")

    def page(self, after: str, size: int) -> Page:
        """Return the next `size` entries (S3 keys, at most 1,000) after one, or the first."""
        prefix = f"{keys.INDEX}/"
        answer = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix, StartAfter=after or prefix, MaxKeys=size)
        return Page([item["Key"] for item in answer.get("Contents", [])], answer["IsTruncated"])


def cursor(entry: str) -> str:
    """Return what a client says to go on after `entry`."""
    return base64.urlsafe_b64encode(entry.removeprefix(f"{keys.INDEX}/").encode()).decode().rstrip("=")


def entry(cursor: str) -> str:
    """Return the entry after which a client wants to go on.

    Raises:
        ValueError: It is no cursor of ours.
    """
    try:
        name = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not a cursor from an earlier answer") from error
    if not _ENTRY.fullmatch(name):
        raise ValueError("is not a cursor from an earlier answer")
    return f"{keys.INDEX}/{name}"
