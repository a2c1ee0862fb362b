"""A web UI that takes a fixed time for each picture, in a process of its own, and knows when it stood idle."""

import base64
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = ("a.safetensors", "b.safetensors")


class Gpu:
    """One GPU with one model loaded at a time.

    Args:
        service_s: What a picture takes.
        load_s: What loading another model takes.
        picture: The file that is drawn.
    """

    def __init__(self, service_s: float, load_s: float, picture: bytes) -> None:
        self._service_s = service_s
        self._load_s = load_s
        self._lock = threading.Lock()
        self._images = f'["{base64.b64encode(picture).decode()}"]'
        self.loaded = MODELS[0]
        self.loads = 0
        self.spans: list[tuple[float, float]] = []

    def draw(self) -> bytes:
        """Return an answer after the time that it takes."""
        with self._lock:
            began = time.monotonic()
            info = json.dumps({"all_seeds": [1], "sd_model_name": self.loaded.removesuffix(".safetensors")})
            answer = f'{{"images":{self._images},"parameters":{{"steps":20}},"info":{json.dumps(info)}}}'.encode()
            time.sleep(max(began + self._service_s - time.monotonic(), 0))
            self.spans.append((began, time.monotonic()))
            return answer

    def load(self, title: str) -> None:
        """Have another model loaded."""
        with self._lock:
            time.sleep(self._load_s)
            self.loaded = title
            self.loads += 1


def serve(gpu: Gpu) -> ThreadingHTTPServer:
    """Return a server of the web UI's API; `/spans` has when it drew."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            match self.path.removeprefix("/sdapi/v1"):
                case "/options":
                    self.answer({"sd_model_checkpoint": gpu.loaded})
                case "/sd-models":
                    self.answer(
                        [
                            {"title": m, "model_name": m.removesuffix(".safetensors"), "filename": f"/models/{m}"}
                            for m in MODELS
                        ]
                    )
                case "/progress":
                    self.answer({"progress": 0.5, "eta_relative": 1, "state": {}, "current_image": None})
                case "/spans":
                    self.answer({"spans": gpu.spans, "loads": gpu.loads})
                case _:
                    self.send_error(404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            match self.path.removeprefix("/sdapi/v1"):
                case "/txt2img":
                    self.send(gpu.draw())
                case "/options":
                    gpu.load(body["sd_model_checkpoint"])
                    self.answer(None)
                case _:
                    self.answer(None)

        def answer(self, document: object) -> None:
            self.send(json.dumps(document).encode())

        def send(self, body: bytes) -> None:
            self.send_response_only(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


if __name__ == "__main__":
    picture = b"\x89PNG\r\n\x1a\n" + os.urandom(int(sys.argv[3]))
    with serve(Gpu(float(sys.argv[1]), float(sys.argv[2]), picture)) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)  # noqa: T201
        server.serve_forever()
