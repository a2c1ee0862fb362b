"""Inputs that a job names by URL, fetched without letting the job reach into our network."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from agent.call import within
from agent.errors import JobError, PermanentError, TransientError
from agent.store import error_code
from contract import keys
from contract.addresses import is_public, shown

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MAX_REDIRECTS = 3
_PARALLEL = 4
_CHUNK_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 5.0
# Of a host that does not answer at the first ones.
_MOST_ADDRESSES = 4
# Folders of the output bucket.
_RECORDS = keys.RESERVED - {keys.UPLOADS}
_REDIRECTS = {301, 302, 303, 307, 308}
# What a URL may already have encoded, or need not; spaces and letters beyond ASCII are encoded.
_SAFE = "!#$%&'()*+,/:;=?@[]~"
_ABSENT = {"NoSuchKey", "NoSuchBucket", "AccessDenied", "InvalidObjectState", "403", "404"}


@dataclass(frozen=True)
class Limits:
    """What a job's inputs may be.

    Attributes:
        buckets: The buckets that may be read.
        own_bucket: The one with the records of all jobs, which hold what others asked for: those are never read.
        hosts: The hosts that may be asked, `*.example.com` for all below one; empty for every public host.
        max_bytes: Of all inputs of a job together.
        timeout_s: For one input, from the look-up of its host to its last byte.
        allow_private: Whether addresses that are not public are allowed, too.
    """

    buckets: frozenset[str] = frozenset()
    own_bucket: str = ""
    hosts: frozenset[str] = frozenset()
    max_bytes: int = 64 * 2**20
    timeout_s: float = 30
    allow_private: bool = False


class _Budget:
    """The bytes that a job may still read."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._left = max_bytes
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise PermanentError("input-too-large", f"the inputs have more than {self._max_bytes} bytes together")


class Inputs:
    """Fetches inputs. Thread-safe.

    Args:
        fetched: Is told how many bytes the inputs of a job have together.
    """

    def __init__(self, s3: "S3Client", limits: Limits, fetched: Callable[[int], None] = lambda _: None) -> None:
        self._s3 = s3
        self._limits = limits
        self._fetched = fetched
        self._tls = ssl.create_default_context()

    def fetch(self, urls: Collection[str]) -> dict[str, bytes]:
        """Return what is at each of the `http`, `https` or `s3` URLs.

        Raises:
            PermanentError: An input is not allowed (`input-not-allowed`), too large (`input-too-large`) or not there
                (`input-unavailable`).
            TransientError: An input could not be had now (`input-unavailable`).
        """
        distinct = list(dict.fromkeys(urls))
        if not distinct:
            return {}
        budget = _Budget(self._limits.max_bytes)
        with ThreadPoolExecutor(min(_PARALLEL, len(distinct))) as pool:
            found = dict(zip(distinct, pool.map(lambda url: self._fetch(url, budget), distinct), strict=True))
        self._fetched(sum(map(len, found.values())))
        return found

    def _fetch(self, url: str, budget: _Budget) -> bytes:
        deadline = time.monotonic() + self._limits.timeout_s
        if url[:5].lower() == "s3://":
            return self._from_s3(url, budget, deadline)
        for _ in range(MAX_REDIRECTS + 1):
            body, location = self._from_http(url, budget, deadline)
            if location is None:
                return body
            url = urljoin(url, location)
        raise PermanentError("input-unavailable", f"{shown(url)}: more than {MAX_REDIRECTS} redirects")

    def _from_s3(self, url: str, budget: _Budget, deadline: float) -> bytes:
        bucket, _, key = url[5:].partition("/")
        if bucket not in self._limits.buckets or not key:
            raise PermanentError("input-not-allowed", f"{shown(url)}: this runtime may not read from bucket {bucket!r}")
        # S3 takes dots and slashes literally; what is between us and it may not.
        parts = [part for part in key.split("/") if part]
        if {".", ".."} & set(parts) or (bucket == self._limits.own_bucket and _RECORDS & set(parts[:1])):
            raise PermanentError("input-not-allowed", f"{shown(url)}: no input may be read from there")
        try:
            # botocore's time-outs start anew with each byte and each attempt.
            return within(deadline, lambda: self._object(bucket, key, budget, deadline))
        except TimeoutError as error:
            raise self._late(url) from error
        except ClientError as error:
            kind = PermanentError if error_code(error) in _ABSENT else TransientError
            raise kind("input-unavailable", f"{shown(url)}: {error_code(error)}") from error
        except BotoCoreError as error:
            raise TransientError("input-unavailable", f"{shown(url)}: S3 did not answer") from error

    def _object(self, bucket: str, key: str, budget: _Budget, deadline: float) -> bytes:
        data = bytearray()
        with contextlib.closing(self._s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                budget.take(len(chunk))
                data += chunk
                _left_s(deadline)
        return bytes(data)

    def _late(self, url: str) -> TransientError:
        return TransientError("input-unavailable", f"{shown(url)}: no answer within {self._limits.timeout_s:g} s")

    def _from_http(self, url: str, budget: _Budget, deadline: float) -> tuple[bytes, str | None]:
        """Return the body at `url`, or the location that it redirects to."""
        parts = self._checked(url)
        try:
            with self._connect(parts, url, deadline) as sock:

                def expire() -> None:
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # beneath TLS, which may be at work

                # Time-outs of sockets start anew with each byte: a slow sender is cut off from outside.
                timer = threading.Timer(_left_s(deadline), expire)
                timer.daemon = True
                timer.start()
                try:
                    if isinstance(sock, ssl.SSLSocket):
                        sock.do_handshake()
                    answer = self._ask(sock, parts, url, budget)
                finally:
                    timer.cancel()
            _left_s(deadline)  # what looks like the end of the body may be our own cut
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline:
                raise self._late(url) from error
            raise TransientError("input-unavailable", f"{shown(url)}: {type(error).__name__}") from error
        return answer

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise PermanentError("input-not-allowed", f"{shown(url)}: {error}") from error
        if parts.scheme not in {"http", "https"} or not host or "%" in host:  # as in a scope
            raise PermanentError("input-not-allowed", f"{shown(url)}: inputs are http, https or s3 URLs")
        if parts.username is not None:
            raise PermanentError("input-not-allowed", f"{shown(url)}: a URL with a user is not fetched")
        if self._limits.hosts and not any(_covers(pattern, host) for pattern in self._limits.hosts):
            raise PermanentError("input-not-allowed", f"{shown(url)}: this runtime may not read from host {host!r}")
        return parts

    def _connect(self, parts: SplitResult, url: str, deadline: float) -> socket.socket:
        """Return a connection to an address that was checked itself: no name is looked up between check and use.

        One for TLS is returned before the handshake.
        """
        host, port = str(parts.hostname), _port(parts)
        try:
            found = within(deadline, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except socket.gaierror as error:
            kind = TransientError if error.errno == socket.EAI_AGAIN else PermanentError
            raise kind("input-unavailable", f"{shown(url)}: host {host!r} is not known") from error
        except UnicodeError as error:
            raise PermanentError("input-not-allowed", f"{shown(url)}: {host!r} is not a host name") from error
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        allowed = [it for it in addresses if self._limits.allow_private or is_public(ipaddress.ip_address(it))]
        if not allowed:
            raise PermanentError("input-not-allowed", f"{shown(url)}: host {host!r} has no public address")
        failure = OSError()
        for address in allowed[:_MOST_ADDRESSES]:
            try:
                sock = socket.create_connection((address, port), min(_left_s(deadline), _CONNECT_TIMEOUT_S))
            except OSError as error:
                failure = error
                continue
            sock.settimeout(None)  # from here on there is one time-out, for all of it
            if parts.scheme == "https":
                return self._tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            return sock
        raise failure

    def _ask(self, sock: socket.socket, parts: SplitResult, url: str, budget: _Budget) -> tuple[bytes, str | None]:
        connection = http.client.HTTPConnection(str(parts.hostname), _port(parts))
        connection.sock = sock
        target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
        host = parts.netloc.encode("idna").decode("ascii")
        headers = {"Host": host, "Accept-Encoding": "identity", "User-Agent": "darkroom", "Connection": "close"}
        connection.request("GET", target, headers=headers)
        with connection.getresponse() as response:
            location = response.getheader("Location")
            if response.status in _REDIRECTS and location:
                return b"", location
            if response.status != http.client.OK:
                raise _refusal(response.status, url)
            # A few bytes might become any number, and nobody asked for it.
            if response.getheader("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
                raise PermanentError("input-unavailable", f"{shown(url)}: the host compresses what it sends")
            return _body(response, budget), None


def _body(response: http.client.HTTPResponse, budget: _Budget) -> bytes:
    if response.length is not None:
        budget.take(response.length)
        return response.read()  # in one piece
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        budget.take(len(chunk))
        body += chunk
    return bytes(body)


def _left_s(deadline: float) -> float:
    """Return how many seconds are left before `deadline`.

    Raises:
        TimeoutError: None.
    """
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _covers(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _refusal(status: int, url: str) -> JobError:
    # What a server may answer otherwise a moment later; everything else is the client's to mend.
    later = status in {408, 425, 429} or status >= 500
    return (TransientError if later else PermanentError)("input-unavailable", f"{shown(url)}: HTTP {status}")
