import threading
import time
from collections.abc import Callable

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import TypeAdapter, ValidationError

from api import problem
from api.aws import Clients
from api.routing import Runtime

_TABLE = TypeAdapter(tuple[Runtime, ...])
_NOT_MODIFIED = "304"

log = structlog.get_logger()


class RoutingTable:
    """The runtimes that there are, as the platform last wrote them to S3. Safe to share between threads."""

    def __init__(
        self,
        clients: Clients,
        bucket: str,
        key: str,
        refresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._s3 = clients.s3
        self._bucket = bucket
        self._key = key
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._runtimes: tuple[Runtime, ...] | None = None
        self._etag = "none"
        self._next_look = 0.0

    def current(self) -> tuple[Runtime, ...]:
        """Return the table, at most `refresh_seconds` old, or the last one known while no newer can be read.

        Raises:
            Problem: 503, while there never was a table.
        """
        with self._lock:
            if self._runtimes is None:
                self._load()
            elif self._clock() >= self._next_look:
                try:
                    self._load()
                except (problem.Problem, ClientError, BotoCoreError) as error:
                    # Jobs can still be routed as they were; whoever watches the log learns why nothing new appears.
                    log.warning("routing table not refreshed", error=type(error).__name__)
                    self._next_look = self._clock() + self._refresh_seconds
            return self._runtimes or ()

    def _load(self) -> None:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key, IfNoneMatch=self._etag)
            self._runtimes = _TABLE.validate_json(answer["Body"].read())
            self._etag = answer["ETag"]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in {"NoSuchKey", "NoSuchBucket"}:
                raise problem.unavailable(f"the routing table {self._key} does not exist yet") from error
            if code != _NOT_MODIFIED:
                raise
        except ValidationError as error:
            raise problem.unavailable(f"the routing table {self._key} is not a list of runtimes") from error
        self._next_look = self._clock() + self._refresh_seconds
