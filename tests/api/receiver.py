import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_" + "bmV2ZXIgdXNlZCBvdXRzaWRlIG9mIHRlc3Rz"


@dataclass
class Receiver:
    """A server that takes webhooks, and answers as it is told."""

    url: str
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    got: list[tuple[dict[str, str], str]] = field(default_factory=list)
    hold: threading.Event | None = None

    def verified(self, secret: str = SECRET) -> list[dict[str, Any]]:
        """Return what came, after the library has looked at its signature."""
        return [Webhook(secret).verify(body, headers) for headers, body in self.got]

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            made.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            if made.hold:
                made.hold.wait(30)
            status, headers = made.answers.pop(0) if made.answers else (204, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Receiver(f"http://127.0.0.1:{server.server_port}/hook?token=swordfish")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        if made.hold:
            made.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
