"""A proxy before the emulator: it makes AWS as slow as it is from afar, and as unreliable as it is on a bad day."""

import http.client
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from tests.agent.conftest import serving

# What may become of a call. Those that end in `-after` have had their effect, and only their answer is lost.
Fate = Literal["", "throttled", "error", "reset", "reset-after", "hang"]
_NOT_FORWARDED = {"connection", "host", "expect", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True)
class Call:
    """One call of AWS: `number` from 0, in the order of arrival; `action` as in `sqs.ReceiveMessage`, `s3.PUT`."""

    number: int
    action: str
    path: str


def _well(_: Call) -> Fate:
    return ""


def _nothing(_: Call) -> None:
    pass


@dataclass
class Proxy:
    """The proxy; what it does may be changed while it runs.

    Attributes:
        delay_s: What each call takes longer, long polls included.
        before: Called before a call is passed on; returns its fate.
        after: Called when a call has had its effect, before it is answered.
        hang_s: How long a call hangs whose fate that is.
        down: While set, every connection is reset, as during a restart.
    """

    upstream: str
    delay_s: float = 0.0
    before: Callable[[Call], Fate] = _well
    after: Callable[[Call], None] = _nothing
    hang_s: float = 30.0
    down: bool = False
    url: str = ""
    count: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def calm(self) -> None:
        """Let everything go well."""
        self.before, self.after = _well, _nothing

    def kill_at(self, fits: Callable[[Call], bool], kill: Callable[[], object], *, after: bool) -> None:
        """Have the caller killed at its first call that fits: before AWS gets it, or when it has had its effect."""
        armed = threading.Event()
        armed.set()

        def killed(call: Call) -> bool:
            if not armed.is_set() or not fits(call):
                return False
            armed.clear()
            kill()
            return True

        def before(call: Call) -> Fate:
            return "reset" if not after and killed(call) else ""

        def afterwards(call: Call) -> None:
            if after:
                killed(call)

        self.before, self.after = before, afterwards

    def call(self, action: str, path: str) -> Call:
        """Return the next call."""
        with self._lock:
            self.count += 1
            return Call(self.count - 1, action, path)


def _action(headers: Message, method: str, body: bytes) -> str:
    scope = re.search(r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/", headers.get("Authorization", ""))
    service = scope.group(1) if scope else "unknown"
    if target := headers.get("X-Amz-Target"):
        return f"{service}.{target.rpartition('.')[2]}"
    if service == "s3":
        return f"s3.{method}"
    return f"{service}.{parse_qs(body.decode(errors='replace')).get('Action', ['?'])[0]}"


def _refusal(action: str, throttled: bool) -> tuple[int, str, bytes]:
    """Return an error as the service spells it: status, content type and body."""
    match action.partition(".")[0]:
        case "sqs":
            kind = "com.amazonaws.sqs#RequestThrottled" if throttled else "com.amazonaws.sqs#InternalError"
            return 400 if throttled else 500, "application/x-amz-json-1.0", json.dumps({"__type": kind}).encode()
        case "s3":
            code = "SlowDown" if throttled else "InternalError"
            return 503 if throttled else 500, "application/xml", f"<Error><Code>{code}</Code></Error>".encode()
        case _:
            code = "Throttling" if throttled else "InternalFailure"
            text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>"
            return 400 if throttled else 500, "text/xml", text.encode()


@contextmanager
def proxying(proxy: Proxy) -> Iterator[Proxy]:
    """Serve `proxy` on a loopback port."""
    upstream = urlsplit(proxy.upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            self.upstream = http.client.HTTPConnection(str(upstream.hostname), int(upstream.port or 80), timeout=60)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call = proxy.call(_action(self.headers, self.command, body), self.path)
            fate: Fate = "reset" if proxy.down else proxy.before(call)
            if proxy.delay_s:
                time.sleep(proxy.delay_s)
            match fate:
                case "throttled" | "error":
                    status, kind, refusal = _refusal(call.action, fate == "throttled")
                    return self.respond(status, [("Content-Type", kind)], refusal)
                case "hang":
                    time.sleep(proxy.hang_s)
                    return self.reset()
                case "reset":
                    return self.reset()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_FORWARDED}
            try:
                self.upstream.request(self.command, self.path, body, headers | {"Host": upstream.netloc})
                response = self.upstream.getresponse()
                status, told, answer = response.status, response.getheaders(), response.read()
            except (OSError, http.client.HTTPException):
                return self.reset()
            proxy.after(call)
            if fate == "reset-after":
                return self.reset()
            return self.respond(status, told, answer)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the base class's names

        def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                    self.send_header(name, value)
            length = dict(headers).get("content-length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def reset(self) -> None:
            # Closed with nothing left to linger for, a connection is reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            self.wfile = self.rfile = _Nothing()  # type: ignore[assignment]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with serving(Handler) as proxy.url:
        yield proxy


class _Nothing:
    """What is left of a connection that was reset."""

    closed = True

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


if __name__ == "__main__":  # in a process of its own, so that what is measured does not share ours
    with proxying(Proxy(sys.argv[1], delay_s=float(sys.argv[2]))) as running:
        print(running.url, flush=True)  # noqa: T201
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
