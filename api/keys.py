"""Who may ask: API keys with names, for where there is no API Gateway to know them.

    python -m api.keys web-shop          # makes a key, and says what goes into the file

The file holds hashes: whoever reads it cannot ask. A key has 256 bits of chance, so one round of SHA-256 is enough.
"""

import argparse
import hashlib
import hmac
import json
import math
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

log = structlog.get_logger()

# How soon a change of the file is seen.
_REFRESH_SECONDS = 1.0


class Key(BaseModel):
    """A key, as the file lists it.

    Attributes:
        name: Whose it is; told in the log.
        sha256: Its hash, in hex.
        rate: How many requests a second it may make on average; None: as many as it likes.
        burst: How many it may make at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    rate: Annotated[float, Field(gt=0)] | None = None
    burst: Annotated[int, Field(ge=1)] = 1


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[Key]

    @model_validator(mode="after")
    def _distinct(self) -> "_File":
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            if twice := {value for value in values if values.count(value) > 1}:
                raise ValueError(f"two keys have one {field}: {', '.join(sorted(twice))}")
        return self


class InvalidKeysError(ValueError):
    """A file of keys that is none; the text says why."""


class Keys:
    """The keys that a file lists, as it is now. Safe to share between threads.

    Raises:
        InvalidKeysError: The file cannot be read, or lists no keys. Once it was read, what it said last stands until it
            can be read again.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._keys: list[Key] = []
        self._seen = (0, 0, 0)
        self._next_look = 0.0
        self._load(self._stamp())

    def find(self, given: str) -> Key | None:
        """Return the key that a client gave, or None."""
        self._refresh()
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
        # All of them are looked at, each for as long as the others.
        matches = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        return matches[0] if matches else None

    def wait_seconds(self, key: Key) -> float:
        """Return 0 and count a request of `key`, or return how long it is to wait first."""
        if key.rate is None:
            return 0
        with self._lock:
            bucket = self._buckets.get(key.name)
            if bucket is None or bucket.key != key:
                bucket = self._buckets[key.name] = _Bucket(key, self._clock())
            return bucket.take(self._clock())

    def _refresh(self) -> None:
        if self._clock() < self._next_look:
            return
        with self._lock:
            try:
                stamp = self._stamp()
                if stamp != self._seen:
                    self._load(stamp)
            except InvalidKeysError as error:
                self._next_look = self._clock() + _REFRESH_SECONDS
                log.error("API keys not read again; those from before stay valid", error=str(error))

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._file.stat()
        except OSError as error:
            raise InvalidKeysError(f"{self._file} cannot be read: {error.strerror}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self, stamp: tuple[int, int, int]) -> None:
        self._seen = stamp
        self._next_look = self._clock() + _REFRESH_SECONDS
        try:
            self._keys = _File.model_validate_json(self._file.read_bytes()).keys
        except OSError as error:
            raise InvalidKeysError(f"{self._file} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            # Without what was given, which may be a key.
            told = [f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()]
            raise InvalidKeysError(f"{self._file}: {'; '.join(told)}") from error


class _Bucket:
    """What a key has left: `burst` at first and at most, and `rate` more each second."""

    def __init__(self, key: Key, now: float) -> None:
        self.key = key
        self._rate = key.rate or math.inf
        self._tokens = float(key.burst)
        self._counted = now

    def take(self, now: float) -> float:
        """Take one and return 0, or return in how many seconds there is one."""
        self._tokens = min(self._tokens + (now - self._counted) * self._rate, float(self.key.burst))
        self._counted = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0


def main() -> None:
    """Make a key."""
    parser = argparse.ArgumentParser(prog="python -m api.keys", description="Make an API key.")
    parser.add_argument("name", help="whose it is")
    key = secrets.token_urlsafe(32)
    try:
        entry = Key(name=parser.parse_args().name, sha256=hashlib.sha256(key.encode()).hexdigest())
    except ValidationError:
        parser.error("a name has 1 to 64 letters, digits, '.', '_' or '-'")
    print(f"The key, which nobody can read again: {key}")  # noqa: T201
    print(f'Into "keys" of API_KEYS_FILE: {json.dumps(entry.model_dump(exclude_unset=True))}')  # noqa: T201


if __name__ == "__main__":
    main()
