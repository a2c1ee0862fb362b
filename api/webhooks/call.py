"""One call of a webhook, without letting whoever named it reach into our network."""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from contract.addresses import is_public

_CONNECT_TIMEOUT_S = 5.0
# Of a host that does not answer at the first ones.
_MOST_ADDRESSES = 4


class RefusedError(Exception):
    """A webhook that is not called: its URL is not allowed, now or ever. The text says why."""


class UnansweredError(Exception):
    """A webhook that did not answer. The text says why."""


@dataclass(frozen=True)
class Answer:
    """What a webhook answered; its body is of no interest.

    Attributes:
        status: The HTTP status.
        retry_after_s: How long it wants to be left alone, if it said so.
    """

    status: int
    retry_after_s: float | None = None

    @property
    def taken(self) -> bool:
        """Whether it was taken in."""
        return 200 <= self.status < 300


class _Leash:
    """Cuts a connection when its time is over, whatever is done with it until then."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock = sock.dup()  # TLS takes the descriptor of the other one
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def loose(self) -> None:
        self._timer.cancel()
        self._sock.close()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


class _Checked:
    """Connects to an address that was looked at itself: no name is looked up between check and use.

    Args:
        deadline: When the connection is cut, in monotonic seconds: time-outs of sockets start anew with each byte.
    """

    def __init__(self, *arguments: Any, allow_private: bool, deadline: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._allow_private = allow_private
        self._deadline = deadline
        self._leash: _Leash | None = None

    def _new_conn(self) -> socket.socket:
        host, port = self.host, self.port  # type: ignore[attr-defined]
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        allowed = [it for it in addresses if self._allow_private or is_public(ipaddress.ip_address(it))]
        if not allowed:
            raise RefusedError("its host has no public address")
        failure = OSError()
        for address in allowed[:_MOST_ADDRESSES]:
            left_s = self._deadline - time.monotonic()
            try:
                sock = socket.create_connection((address, port), max(min(left_s, _CONNECT_TIMEOUT_S), 0.001))
            except OSError as error:
                failure = error
                continue
            self._leash = _Leash(sock, left_s)
            return sock
        raise failure

    def close(self) -> None:
        if self._leash:
            self._leash.loose()
        super().close()  # type: ignore[misc]


class _CheckedHTTP(_Checked, HTTPConnection):
    pass


class _CheckedHTTPS(_Checked, HTTPSConnection):
    pass


class _PoolHTTP(HTTPConnectionPool):
    ConnectionCls = _CheckedHTTP


class _PoolHTTPS(HTTPSConnectionPool):
    ConnectionCls = _CheckedHTTPS


def post(url: str, body: str, headers: Mapping[str, str], *, timeout_s: float, allow_private: bool) -> Answer:
    """Send `body` to the webhook at `url`, and return its answer. Redirects are answers like others.

    Raises:
        RefusedError: It is not called.
        UnansweredError: It did not answer, or not in time.
    """
    parts = _parts(url, allow_private=allow_private)
    deadline = time.monotonic() + timeout_s
    settings: dict[str, Any] = {
        "timeout": timeout_s,
        "retries": False,
        "allow_private": allow_private,
        "deadline": deadline,
    }
    host = str(parts.hostname)
    pool = (
        _PoolHTTP(host, parts.port or 80, **settings)
        if parts.scheme == "http"
        else _PoolHTTPS(host, parts.port or 443, ssl_context=ssl.create_default_context(), **settings)
    )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with pool:
        try:
            response = pool.urlopen("POST", target, body.encode(), dict(headers), redirect=False, preload_content=False)
        except (HTTPError, OSError, ValueError) as error:
            if time.monotonic() >= deadline:
                raise UnansweredError(f"no answer within {timeout_s:g} s") from error
            raise UnansweredError(_told(error)) from error
        try:
            return Answer(response.status, _seconds(response.headers.get("Retry-After")))
        finally:
            if response.connection:
                response.connection.close()  # nobody reads the rest


def _parts(url: str, *, allow_private: bool) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RefusedError("it is no URL") from error
    if parts.scheme not in ({"https", "http"} if allow_private else {"https"}) or not host:
        raise RefusedError("it is no https:// URL")
    if parts.username is not None:
        raise RefusedError("it has a user in it")
    return parts


def _seconds(retry_after: str | None) -> float | None:
    """Return how long a Retry-After is, which may be a number of seconds or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    with contextlib.suppress(ValueError, TypeError):
        return max((parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0.0)
    return None


def _told(error: Exception) -> str:
    # Their texts may quote the URL, which may hold secrets.
    reason = error.__cause__ or error.__context__ or error
    name = type(reason).__name__ if isinstance(reason, OSError) else type(error).__name__
    return {"gaierror": "its host is not known", "ConnectionRefusedError": "it refuses connections"}.get(name, name)
