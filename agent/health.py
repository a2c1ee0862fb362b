"""Health: what the kubelet and Prometheus ask for, over HTTP."""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class Pulse:
    """When each thread said that it would next give a sign of life. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}

    def beat(self, thread: str, within_s: float) -> None:
        """Live, and promise the next beat within so many seconds."""
        self._due[thread] = self._clock() + within_s

    def retire(self, thread: str) -> None:
        """End, as planned."""
        self._due.pop(thread, None)

    def stalled(self) -> list[str]:
        """Return the threads that broke their promise."""
        now = self._clock()
        return sorted(thread for thread, due in self._due.copy().items() if now > due)


def serve(
    host: str, port: int, *, pulse: Pulse, ready: Callable[[], bool], registry: CollectorRegistry
) -> ThreadingHTTPServer:
    """Start to serve `/healthz`, `/readyz` and `/metrics`, and return the server; port 0 is any free one.

    `/healthz` is 503 when a thread has stalled: the agent should be started anew. `/readyz` is 503 while no job would
    be received, as during the start of the inference server.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/healthz":
                    stalled = pulse.stalled()
                    self._answer(not stalled, f"stalled: {', '.join(stalled)}" if stalled else "ok")
                case "/readyz":
                    self._answer(ready(), "ready" if ready() else "not ready")
                case "/metrics":
                    self._send(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
                case _:
                    self._send(HTTPStatus.NOT_FOUND, b"/healthz /readyz /metrics\n", "text/plain")

        def _answer(self, good: bool, text: str) -> None:
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(status, f"{text}\n".encode(), "text/plain")

        def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Log nothing: probes come every few seconds."""

    server = ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
