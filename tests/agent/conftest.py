"""A stage for the agent: queues, topics and a bucket in the emulator, an honest stand-in for the web UI, a web site."""

import base64
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agent.main import build
from agent.metrics import Metrics
from agent.pipeline import Pipeline
from agent.settings import Settings, load
from tests.conftest import PATIENCE_S, Aws, eventually

RUNTIME = "tiny"


def png(seed: int) -> bytes:
    """Return a picture of one pixel, whose colour is the seed's."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = b"\0" + struct.pack(">I", seed % 2**24)[1:]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixel)) + chunk(b"IEND", b"")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """End all connections, as the end of the process would."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are what the tests are about."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """Serve on a loopback port, and give the URL."""
    with _Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.cut()
            thread.join()


@dataclass
class WebUI:
    """What A1111 answers, without the drawing: one generation at a time, 422 and 500 as it does, interrupts, progress.

    Attributes:
        calls: What it was asked, in order: method and route, and the body.
        held: While clear, generations do not end, except by an interrupt that is heeded.
        scripted: Answers to be given instead, by route: status and body; status 0 is half an answer, and away.
        once: The same, for a single time.
        silent: Routes that are not answered as long as they stand here.
        hidden: Models that it finds when it refreshes its list.
        grid: Whether a grid is put before the pictures.
        maps: How many pictures an extension adds behind them.
    """

    titles: list[str] = field(default_factory=lambda: ["tiny.safetensors [0123456789]"])
    loaded: str = "tiny.safetensors [0123456789]"
    calls: list[tuple[str, Any]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    heeds_interrupts: bool = True
    scripted: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    once: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    hidden: list[str] = field(default_factory=list)
    grid: bool = False
    maps: int = 0
    url: str = ""
    _stop: AbstractContextManager[str] | None = None
    _port: int = 0
    _drawing: threading.Lock = field(default_factory=threading.Lock)
    _interrupted: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.held.set()

    def start(self) -> None:
        """Begin to listen, on the same port each time."""
        webui = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                self.reply(*webui.reply("GET", self.path, None))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.reply(*webui.reply("POST", self.path, json.loads(body)))

            def reply(self, status: int, body: bytes) -> None:
                if status:
                    self.answer(status, body)
                else:
                    self.answer(200, body, {"Content-Length": str(len(body) + 100)})
                    self.close_connection = True

        self._stop = serving(Handler, self._port)
        self.url = self._stop.__enter__()
        self._port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Die: listen no longer, and leave what was asked unanswered."""
        if self._stop:
            self._stop.__exit__(None, None, None)
            self._stop = None

    @property
    def asked(self) -> list[str]:
        """What it was asked to do; looks at it are left out."""
        looks = {"GET options", "GET sd-models", "GET progress"}
        return [call for call, _ in self.calls if call not in looks]

    def bodies(self, route: str) -> list[Any]:
        """Return the bodies of the requests to `route`, in order."""
        return [body for call, body in self.calls if call == f"POST {route}"]

    def reply(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        route = path.removeprefix("/sdapi/v1/")
        self.calls.append((f"{method} {route}", body))
        while route in self.silent:
            time.sleep(0.02)
        if route in self.once:
            return self.once.pop(route)
        if route in self.scripted:
            return self.scripted[route]
        status, answer = self._answer(method, route, body)
        return status, json.dumps(answer).encode()

    def _answer(self, method: str, route: str, body: Any) -> tuple[int, Any]:  # noqa: PLR0911 - a table of routes
        match method, route:
            case "GET", "options":
                return 200, {"sd_model_checkpoint": self.loaded}
            case "GET", "sd-models":
                return 200, [_listed(title) for title in self.titles]
            case "GET", "progress":
                state = {"sampling_step": 3, "sampling_steps": 10, "job_count": 1}
                picture = base64.b64encode(png(7)).decode()
                return 200, {"progress": 0.3, "eta_relative": 2.5, "state": state, "current_image": picture}
            case "POST", "refresh-checkpoints":
                self.titles += self.hidden
                return 200, None
            case "POST", "options":
                title = body["sd_model_checkpoint"]
                if title not in self.titles:
                    return 500, {"error": "RuntimeError", "detail": "", "errors": f"model {title!r} not found"}
                self.loaded = title
                return 200, None
            case "POST", "interrupt":
                self._interrupted.set()
                return 200, {}
            case "POST", "txt2img" | "img2img":
                with self._drawing:
                    return self._draw(body)
            case "POST", "extra-single-image":
                return 200, {"html_info": "<p>larger</p>", "image": body["image"]}
            case "POST", "extra-batch-images":
                return 200, {"html_info": "<p>larger</p>", "images": [image["data"] for image in body["imageList"]]}
        return 404, {"detail": "Not Found"}

    def _draw(self, body: Any) -> tuple[int, Any]:
        if not isinstance(body.get("steps", 20), int):
            invalid = {"type": "int_parsing", "loc": ["body", "steps"], "msg": "not an integer", "input": body["steps"]}
            return 422, {"detail": [invalid]}
        # A1111 draws with the loaded model when it does not know the name in the overrides.
        override = body.get("override_settings", {}).get("sd_model_checkpoint")
        title = override if override in self.titles else self.loaded
        self._interrupted.clear()
        while not self.held.wait(0.02):
            if self._interrupted.is_set() and self.heeds_interrupts:
                break
        count = body.get("batch_size", 1) * body.get("n_iter", 1)
        seeds = [body["seed"] + number for number in range(count)]
        pictures = [png(0)] * (self.grid and count > 1) + [png(seed) for seed in seeds] + [png(1)] * self.maps
        info = {
            "all_seeds": seeds,
            "sd_model_name": title.partition(".safetensors")[0],
            "sd_model_hash": title.partition("[")[2].rstrip("]") or None,
            "index_of_first_image": int(self.grid and count > 1),
        }
        images = [base64.b64encode(picture).decode() for picture in pictures]
        parameters = body | {"sampler_name": None} | ({"init_images": None} if "init_images" in body else {})
        return 200, {"images": images, "parameters": parameters, "info": json.dumps(info)}


def _listed(title: str) -> dict[str, Any]:
    file, _, digest = title.rstrip("]").partition(" [")
    name = file.removesuffix(".safetensors")
    return {
        "title": title,
        "model_name": name,
        "hash": digest or None,
        "sha256": digest * 6 or None,
        "filename": f"/models/Stable-diffusion/{file}",
        "config": None,
    }


@pytest.fixture
def webui() -> Iterator[WebUI]:
    """A running stand-in for the web UI."""
    webui = WebUI()
    webui.start()
    yield webui
    webui.held.set()
    webui.silent.clear()
    webui.stop()


@dataclass
class Site:
    """A web site on the loopback address; `pages` has status, body and headers by path."""

    url: str = ""
    pages: dict[str, tuple[int, bytes, dict[str, str]]] = field(default_factory=dict)
    visits: list[str] = field(default_factory=list)

    def page(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        """Put something at `path` and return its URL."""
        self.pages[path] = status, body, headers
        return f"{self.url}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    """A web site with inputs."""
    site = Site()

    class Handler(_Handler):
        def do_GET(self) -> None:
            site.visits.append(self.path)
            status, body, headers = site.pages.get(self.path, (404, b"", {}))
            self.answer(status, body, headers)

    with serving(Handler) as url:
        site.url = url
        yield site


@dataclass
class Stage:
    """One runtime's AWS resources, and what is seen in them.

    Attributes:
        environ: The environment of an agent of this runtime.
    """

    sqs: Any
    sns: Any
    s3: Any
    queue_url: str
    dead_letters_url: str
    heard_url: str
    input_arn: str
    bucket: str
    environ: dict[str, str]
    _heard: list[dict[str, Any]] = field(default_factory=list)

    def send(self, body: Any) -> None:
        """Put a message into the queue, as SNS does when delivery is raw."""
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body if isinstance(body, str) else json.dumps(body))

    def publish(self, body: Any) -> None:
        """Publish a message to the input topic, which puts it into the queue in an envelope."""
        attributes = {"runtime": {"DataType": "String", "StringValue": RUNTIME}}
        self.sns.publish(TopicArn=self.input_arn, Message=json.dumps(body), MessageAttributes=attributes)

    def notices(self) -> list[dict[str, Any]]:
        """Return every notice so far; each has the message's JSON, and the attributes under `_attributes`."""
        while messages := self.sqs.receive_message(
            QueueUrl=self.heard_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                attributes = {name: it["StringValue"] for name, it in message.get("MessageAttributes", {}).items()}
                self._heard.append(json.loads(message["Body"]) | {"_attributes": attributes})
                self.sqs.delete_message(QueueUrl=self.heard_url, ReceiptHandle=message["ReceiptHandle"])
        return list(self._heard)

    def heard(self, count: int = 1) -> list[dict[str, Any]]:
        """Return all notices as soon as there are `count`."""
        return eventually(lambda: found if len(found := self.notices()) >= count else [], f"notice {count}")

    def objects(self, prefix: str = "") -> list[str]:
        """Return the keys in the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def read(self, key: str) -> bytes:
        """Return an object."""
        data: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return data

    def content_type(self, key: str) -> str:
        """Return an object's content type."""
        return str(self.s3.head_object(Bucket=self.bucket, Key=key)["ContentType"])

    def json(self, key: str) -> Any:
        """Return an object that is JSON."""
        return json.loads(self.read(key))

    def ended(self) -> list[str]:
        """Return the keys of all results."""
        return [key for key in self.objects("jobs/") if key.endswith("/result.json")]

    def results(self) -> list[dict[str, Any]]:
        """Return all results."""
        return [self.json(key) for key in self.ended()]

    def result(self) -> dict[str, Any]:
        """Return the only result, as soon as it is there and its message is gone."""
        eventually(lambda: self.results() and self.empty(), "the end of the job")
        (result,) = self.results()
        return dict(result)

    def depth(self, url: str = "") -> tuple[int, int]:
        """Return how many messages a queue has: visible ones, and hidden ones."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url or self.queue_url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def allow_receives(self, count: int) -> None:
        """Have messages go to the dead letters when they were received so often."""
        told = self.sqs.get_queue_attributes(QueueUrl=self.dead_letters_url, AttributeNames=["QueueArn"])
        redrive = json.dumps({"deadLetterTargetArn": told["Attributes"]["QueueArn"], "maxReceiveCount": count})
        self.sqs.set_queue_attributes(QueueUrl=self.queue_url, Attributes={"RedrivePolicy": redrive})

    def empty(self) -> bool:
        """Return whether the queue has no message, not even a hidden one."""
        return self.depth() == (0, 0)


@pytest.fixture(scope="session")
def clients(aws: Aws) -> tuple[Any, Any, Any]:
    """Clients of the emulator's SQS, SNS and S3."""
    return aws.client("sqs"), aws.client("sns"), aws.client("s3")


@pytest.fixture
def stage(aws: Aws, clients: tuple[Any, Any, Any], webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Fresh queues, topics and a bucket, and the environment of an agent for them and the web UI."""
    sqs, sns, s3 = clients
    name = f"agent-{uuid4().hex[:12]}"

    def queue(suffix: str, **attributes: str) -> tuple[str, str]:
        url = sqs.create_queue(QueueName=f"{name}{suffix}", Attributes=attributes)["QueueUrl"]
        return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    dead_letters_url, dead_letters_arn = queue("-dead-letter")
    redrive = json.dumps({"deadLetterTargetArn": dead_letters_arn, "maxReceiveCount": 3})
    queue_url, queue_arn = queue("", RedrivePolicy=redrive)
    heard_url, heard_arn = queue("-heard")
    input_arn = sns.create_topic(Name=f"{name}-input")["TopicArn"]
    output_arn = sns.create_topic(Name=f"{name}-output")["TopicArn"]
    sns.subscribe(TopicArn=input_arn, Protocol="sqs", Endpoint=queue_arn)
    sns.subscribe(TopicArn=output_arn, Protocol="sqs", Endpoint=heard_arn, Attributes={"RawMessageDelivery": "true"})
    s3.create_bucket(Bucket=name)
    environ = aws.environ | {
        "SQS_QUEUE_URL": queue_url,
        "SNS_TOPIC_ARN": output_arn,
        "S3_BUCKET": name,
        "RUNTIME_NAME": RUNTIME,
        "API_BASE_URL": f"{webui.url}/sdapi/v1/",
        "SD_MODEL_CHECKPOINT": "tiny.safetensors",
        "VISIBILITY_TIMEOUT_SECONDS": "6",
        "RECEIVE_WAIT_SECONDS": "1",
        "RETRY_SECONDS": "0",
        "HEALTH_PORT": "0",
        "ALLOW_PRIVATE_INPUTS": "true",
    }
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    return Stage(*clients, queue_url, dead_letters_url, heard_url, input_arn, name, environ)


@dataclass
class Running:
    """An agent in a thread of the tests."""

    pipeline: Pipeline
    metrics: Metrics
    thread: threading.Thread
    ended_well: list[bool]


Start = Callable[..., Running]


@pytest.fixture
def start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts agents in threads, with changed settings if need be; those that still run are drained at the end."""
    running: list[Running] = []

    def start(change: Callable[[Pipeline], None] = lambda _: None, **changed: Any) -> Running:
        for name, value in changed.items():
            monkeypatch.setenv(name.upper(), str(value))
        settings: Settings = load()
        metrics = Metrics()
        pipeline = build(settings, metrics)
        change(pipeline)
        ended: list[bool] = []
        thread = threading.Thread(target=lambda: ended.append(pipeline.run()), daemon=True)
        thread.start()
        running.append(Running(pipeline, metrics, thread, ended))
        return running[-1]

    monkeypatch.setattr("agent.pipeline.POLL_S", 0.05)
    yield start
    for agent in running:
        agent.pipeline.shutdown.request()
        stage.send("wakes a long poll, and is handed back")
    for agent in running:
        agent.thread.join(PATIENCE_S)


@dataclass
class Process:
    """An agent in a process of its own."""

    popen: subprocess.Popen[bytes]
    log_file: Path

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        lines = []
        for line in self.log_file.read_text().splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
        return [line for line in lines if line.get("event") == event]


Spawn = Callable[..., Process]


@pytest.fixture
def spawn(stage: Stage, tmp_path: Path) -> Iterator[Spawn]:
    """Starts `python -m agent` processes; those that still run are killed at the end."""
    started: list[Process] = []

    def spawn(**changed: Any) -> Process:
        environ = {"PATH": os.environ["PATH"]} | stage.environ
        environ |= {name.upper(): str(value) for name, value in changed.items()}
        log_file = tmp_path / f"agent-{len(started)}.log"
        with log_file.open("wb") as log:
            popen = subprocess.Popen(
                [sys.executable, "-m", "agent"],
                cwd=Path(__file__).parents[2],
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(Process(popen, log_file))
        return started[-1]

    yield spawn
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait()


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
