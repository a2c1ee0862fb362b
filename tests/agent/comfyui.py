"""ComfyUI without torch: routes, queue, cache, history and messages as its `server.py` and `execution.py` have them."""

import asyncio
import copy
import gc
import hashlib
import json
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from tests.agent.conftest import png
from tests.conftest import PATIENCE_S

MODELS = ["red.safetensors", "blue.safetensors"]

# What `/object_info` tells of the classes of nodes that there are.
STRING = ["STRING", {"multiline": True}]
CLASSES: dict[str, dict[str, Any]] = {
    "CheckpointLoaderSimple": {"required": {"ckpt_name": [MODELS]}},
    "CLIPTextEncode": {"required": {"text": STRING, "clip": ["CLIP"]}},
    "KSampler": {"required": {"model": ["MODEL"], "seed": ["INT"], "steps": ["INT"]}},
    "LoadImage": {"required": {"image": [[], {"image_upload": True}]}},
    "LoadAudio": {"required": {"audio": ["COMBO", {"audio_upload": True, "options": []}]}},
    "LoadImageFromUrl": {"required": {"url": STRING}},
    "SaveImage": {"required": {"images": ["IMAGE"], "filename_prefix": STRING}},
    "PreviewImage": {"required": {"images": ["IMAGE"]}},
    "VHS_VideoCombine": {"required": {"images": ["IMAGE"]}},
    "SaveAudio": {"required": {"audio": ["AUDIO"]}},
    "PreviewAny": {"required": {"source": ["*"]}},
    "Fails": {"required": {"error": STRING}},
}
OUTPUT_NODES = {"SaveImage", "PreviewImage", "VHS_VideoCombine", "SaveAudio", "PreviewAny", "Fails"}
WEBM = b"\x1a\x45\xdf\xa3 a film"
FLAC = b"fLaC a song"


class InterruptedNodeError(Exception):
    """A node was interrupted."""


class NodeError(Exception):
    """A node failed."""


@dataclass
class FakeComfyUI:
    """A server on a loopback port; it begins empty each time that it is started.

    Attributes:
        calls: Method and path of what it was asked, in order, with the JSON body.
        held: While clear, samplers do not end, except by an interrupt.
        heeds_interrupts: Whether they do then.
        sockets_refused: Whether `/ws` answers 503.
        lost: Routes of which the answer gets lost on the way: they are done, and the connection is cut.
        silent: Routes that are not answered as long as they stand here.
        scripted: Answers to be given instead, by route: status and body.
        samples: How many times a sampler has run.
        previews: The pictures that a sampler shows while it runs.
        largest_upload_bytes: The most that it takes in one request.
    """

    url: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    heeds_interrupts: bool = True
    sockets_refused: bool = False
    lost: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    scripted: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    samples: int = 0
    previews: list[bytes] = field(default_factory=lambda: [b"\xff\xd8\xff a preview"])
    largest_upload_bytes: int = 1_000_000
    _port: int = 0

    def __post_init__(self) -> None:
        self.held.set()

    # --- life

    def start(self) -> None:
        """Begin to listen, on the same port each time, with nothing in the queue and in the history."""
        self.queue: list[dict[str, Any]] = []
        self.running: dict[str, Any] | None = None
        self.history: dict[str, Any] = {}
        self.cache: dict[str, Any] = {}
        self.flags: dict[str, bool] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.client_id: str | None = None
        self.node: str | None = None
        self.interrupted = False
        self.dead = False
        self._wake = threading.Condition()
        self._loop = asyncio.new_event_loop()
        listening = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(listening,), daemon=True)
        self._thread.start()
        assert listening.wait(PATIENCE_S)
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    def stop(self) -> None:
        """Die: the queue is forgotten, and all connections end."""
        if self.dead:
            return
        self.dead = self.interrupted = True
        with self._wake:
            self._wake.notify_all()
        self._worker.join(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE_S)
        # A connection that was accepted at the last moment is nobody's; it ends when it is collected, here and now.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def cut_sockets(self) -> None:
        """Break the websockets, as a proxy or a hiccup would."""
        for socket in list(self.sockets.values()):
            self._loop.call_soon_threadsafe(_abort, socket)

    def _serve(self, listening: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)

        async def serve() -> None:
            self._stopped = asyncio.Event()
            app = web.Application(client_max_size=self.largest_upload_bytes, middlewares=[self._answer])
            app.router.add_get("/ws", self._ws)
            app.router.add_route("*", "/{path:.*}", self._route)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self._port, reuse_address=True)
            await site.start()
            self._port = runner.addresses[0][1]
            self.url = f"http://127.0.0.1:{self._port}"
            listening.set()
            await self._stopped.wait()
            for socket in list(self.sockets.values()):
                _abort(socket)
            server = runner.server
            assert server
            await runner.cleanup()
            # What was accepted at the last moment comes to be a connection only now; nobody would ever answer on it.
            for _ in range(10):
                await server.shutdown(0)
                await asyncio.sleep(0.01)

        self._loop.run_until_complete(serve())
        self._loop.close()

    # --- routes

    @web.middleware
    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        route = request.path.split("/")[1]
        body = await request.json() if _has_json(request) else None
        self.calls.append((f"{request.method} {request.path}", body))
        while route in self.silent:
            await asyncio.sleep(0.02)
        if route in self.scripted:
            status, text = self.scripted[route]
            return web.Response(status=status, body=text)
        response: web.StreamResponse = await handler(request)
        if route in self.lost:
            assert request.transport
            request.transport.abort()
        return response

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        if self.sockets_refused:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query["clientId"]
        self.sockets[sid] = socket
        await socket.send_json({"type": "status", "data": {"status": self._status(), "sid": sid}})
        if self.client_id == sid and self.node is not None:
            await socket.send_json({"type": "executing", "data": {"node": self.node}})
        async for _ in socket:
            pass
        if self.sockets.get(sid) is socket:
            del self.sockets[sid]
        return socket

    async def _route(self, request: web.Request) -> web.Response:  # noqa: PLR0911, PLR0912 - a table of routes
        body = await request.json() if _has_json(request) else {}
        match request.method, request.path.split("/")[1:]:
            case "GET", ["queue"]:
                running = [self.running["item"]] if self.running else []
                pending = [entry["item"] for entry in self.queue]
                return web.json_response({"queue_running": running, "queue_pending": pending})
            case "GET", ["history", prompt_id]:
                found = self.history.get(prompt_id)
                return web.json_response({prompt_id: found} if found else {})
            case "GET", ["object_info", name]:
                return web.json_response({name: {"input": CLASSES[name]}} if name in CLASSES else {})
            case "GET", ["view"]:
                query = request.query
                data = self.files.get((query.get("type", "output"), query.get("subfolder", ""), query["filename"]))
                return web.Response(status=404) if data is None else web.Response(body=data)
            case "POST", ["prompt"]:
                return self._prompt(body)
            case "POST", ["queue"]:
                self.queue = [] if body.get("clear") else self.queue
                self.queue = [entry for entry in self.queue if entry["item"][1] not in body.get("delete", [])]
            case "POST", ["interrupt"]:
                wanted = body.get("prompt_id")
                if not wanted or (self.running and self.running["item"][1] == wanted):
                    self.interrupted = True
            case "POST", ["history"]:
                for prompt_id in body.get("delete", []):
                    self.history.pop(prompt_id, None)
            case "POST", ["free"]:
                self.flags |= body
                with self._wake:
                    self._wake.notify_all()
            case "POST", ["upload", "image"]:
                return await self._upload(request)
            case _:
                return web.Response(status=404)
        return web.Response()

    async def _upload(self, request: web.Request) -> web.Response:
        posted = (await request.post())["image"]
        assert isinstance(posted, web.FileField)
        data, path, number = posted.file.read(), PurePosixPath(posted.filename), 1
        name = str(path)
        while self.files.get(("input", "", name), data) != data:  # another file has the name
            name, number = f"{path.stem} ({number}){path.suffix}", number + 1
        self.files["input", "", name] = data
        return web.json_response({"name": name, "subfolder": "", "type": "input"})

    def _prompt(self, body: Any) -> web.Response:
        graph, prompt_id = body["prompt"], body["prompt_id"]
        error, good, node_errors = self._validated(graph)
        if error:
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        extra = body.get("extra_data", {}) | {"client_id": body.get("client_id")}
        self.queue.append({"item": [len(self.calls), prompt_id, graph, extra, sorted(good)]})
        self._say("status", {"status": self._status()}, broadcast=True)
        with self._wake:
            self._wake.notify_all()
        return web.json_response({"prompt_id": prompt_id, "number": 1, "node_errors": node_errors})

    def _validated(self, graph: Any) -> tuple[Any, set[str], dict[str, Any]]:
        for name, node in graph.items():
            if node["class_type"] not in CLASSES:
                message = f"Node '{node['class_type']}' not found. The custom node may not be installed."
                return {"type": "missing_node_type", "message": message, "details": f"Node ID '#{name}'"}, set(), {}
        outputs = {name for name, node in graph.items() if node["class_type"] in OUTPUT_NODES}
        if not outputs:
            return {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""}, set(), {}
        node_errors: dict[str, Any] = {}
        for output in outputs:
            for name in _upstream(graph, output):
                if errors := self._input_errors(graph[name]):
                    told = {"errors": errors, "dependent_outputs": [], "class_type": graph[name]["class_type"]}
                    node_errors.setdefault(name, told)["dependent_outputs"].append(output)
        good = outputs - {output for told in node_errors.values() for output in told["dependent_outputs"]}
        if not good:
            message = "Prompt outputs failed validation"
            return {"type": "prompt_outputs_failed_validation", "message": message, "details": ""}, set(), node_errors
        return None, good, node_errors

    def _input_errors(self, node: Any) -> list[dict[str, Any]]:
        errors = []
        for name, (kind, *_) in CLASSES[node["class_type"]]["required"].items():
            value = node["inputs"].get(name)
            if value is None:
                errors.append(
                    {"type": "required_input_missing", "message": "Required input is missing", "details": name}
                )
            elif node["class_type"] in {"LoadImage", "LoadAudio"} and ("input", "", value) not in self.files:
                message = "Custom validation failed for node"
                details = f"{name} - Invalid image file: {value}"
                errors.append({"type": "custom_validation_failed", "message": message, "details": details})
            elif kind is MODELS and value not in MODELS:
                details = f"{name}: '{value}' not in {MODELS}"
                errors.append({"type": "value_not_in_list", "message": "Value not in list", "details": details})
        return errors

    # --- messages

    def _status(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.queue) + bool(self.running)}}

    def _say(self, kind: str, data: dict[str, Any], *, broadcast: bool = False) -> None:
        text = json.dumps({"type": kind, "data": data})
        for sid, socket in list(self.sockets.items()):
            if broadcast or sid == self.client_id:
                asyncio.run_coroutine_threadsafe(_send(socket, text), self._loop)

    def _show(self, image: bytes) -> None:
        message = struct.pack(">II", 1, 1) + image
        for sid, socket in list(self.sockets.items()):
            if sid == self.client_id:
                asyncio.run_coroutine_threadsafe(_send(socket, message), self._loop)

    # --- the worker

    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self.queue or self.flags or self.dead):
                    self._wake.wait()
                if self.dead:
                    return
                flags, self.flags = self.flags, {}
                if flags.get("free_memory"):
                    self.cache = {}
                if not self.queue:
                    continue
                self.running = self.queue.pop(0)
            self._execute(*self.running["item"])

    def _execute(self, number: int, prompt_id: str, graph: Any, extra: Any, outputs: list[str]) -> None:
        self.client_id = extra["client_id"]
        self.interrupted = self.dead
        messages: list[Any] = []

        def say(kind: str, *, broadcast: bool = False, **data: Any) -> None:
            messages.append([kind, data | {"prompt_id": prompt_id, "timestamp": int(time.time() * 1000)}])
            self._say(kind, messages[-1][1], broadcast=broadcast)

        say("execution_start")
        order = list(dict.fromkeys(name for output in outputs for name in _upstream(graph, output)))
        say("execution_cached", nodes=[name for name in order if _signature(graph, name) in self.cache])
        shown: dict[str, Any] = {}
        executed: list[str] = []
        error = None
        for name in order:
            signature = _signature(graph, name)
            self.node = name
            where: Any = {"node_id": name, "node_type": graph[name]["class_type"], "executed": executed}
            try:
                if signature not in self.cache:
                    self._say("executing", {"node": name, "display_node": name, "prompt_id": prompt_id})
                    self.cache[signature] = self._run_node(graph, name, prompt_id)
                if self.cache[signature]:
                    shown[name] = self.cache[signature]
                    self._say("executed", {"node": name, "output": shown[name], "prompt_id": prompt_id})
            except InterruptedNodeError:
                error = "interrupted"
                say("execution_interrupted", broadcast=True, **where)
                break
            except NodeError as failure:
                error = "error"
                exception, _, text = str(failure).partition(": ")
                told: Any = {
                    "exception_type": exception,
                    "exception_message": f"{text}\n",
                    "traceback": [],
                    "current_inputs": {},
                }
                say("execution_error", **where, **told)
                break
            executed.append(name)
        if not error:
            say("execution_success")
        self.node = None
        status = {"status_str": "error" if error else "success", "completed": not error, "messages": messages}
        entry = {"prompt": [number, prompt_id, graph, extra, outputs], "outputs": shown, "status": status, "meta": {}}
        if not self.dead:
            self.history[prompt_id] = copy.deepcopy(entry)
        self.running = None
        self._say("status", {"status": self._status()}, broadcast=True)
        self._say("executing", {"node": None, "prompt_id": prompt_id})

    def _run_node(self, graph: Any, name: str, prompt_id: str) -> Any:
        """Return what the node shows, if it is one that does."""
        kind, inputs = graph[name]["class_type"], graph[name]["inputs"]
        seed = next((graph[it]["inputs"]["seed"] for it in _upstream(graph, name) if "seed" in graph[it]["inputs"]), 0)
        match kind:
            case "KSampler":
                self._sample(name, inputs["steps"], prompt_id)
            case "SaveImage":
                return {"images": [self._saved("output", f"{inputs['filename_prefix']}_{seed:05}_.png", png(seed))]}
            case "PreviewImage":
                return {"images": [self._saved("temp", f"ComfyUI_temp_{name}_{seed:05}_.png", png(seed + 1))]}
            case "VHS_VideoCombine":
                return {"gifs": [self._saved("output", "film.webm", WEBM) | {"format": "video/webm", "frame_rate": 8}]}
            case "SaveAudio":
                return {"audio": [self._saved("output", "song.flac", FLAC) | {"subfolder": ""}]}
            case "PreviewAny":
                return {"text": ["a red circle"]}
            case "Fails":
                raise NodeError(inputs["error"])
        return None

    def _sample(self, name: str, steps: int, prompt_id: str) -> None:
        self.samples += 1
        for step in range(1, steps + 1):
            state = {"value": step, "max": steps, "state": "running", "node_id": name, "prompt_id": prompt_id}
            self._say("progress_state", {"prompt_id": prompt_id, "nodes": {name: state}})
            self._say("progress", {"value": step, "max": steps, "prompt_id": prompt_id, "node": name})
            for image in self.previews:
                self._show(image)
            while step > steps // 2 and not self.held.wait(0.01):
                if self.interrupted and (self.heeds_interrupts or self.dead):
                    break
            if self.interrupted and (self.heeds_interrupts or self.dead):
                self.interrupted = False
                raise InterruptedNodeError

    def _saved(self, place: str, name: str, data: bytes) -> dict[str, str]:
        self.files[place, "", name] = data
        return {"filename": name, "subfolder": "", "type": place}


def _has_json(request: web.Request) -> bool:
    return request.body_exists and request.content_type == "application/json"


def _upstream(graph: Any, name: str) -> Iterator[str]:
    """Give the nodes that `name` needs, each before those that need it, and itself."""
    for value in graph[name]["inputs"].values():
        if isinstance(value, list) and len(value) == 2 and value[0] in graph:
            yield from _upstream(graph, value[0])
    yield name


def _signature(graph: Any, name: str) -> str:
    used = [[graph[it]["class_type"], graph[it]["inputs"]] for it in _upstream(graph, name)]
    return hashlib.sha256(json.dumps([name, used], sort_keys=True).encode()).hexdigest()


async def _send(socket: web.WebSocketResponse, message: str | bytes) -> None:
    with suppress(ConnectionError, RuntimeError):  # the client went away
        await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_str(message))


def _abort(socket: web.WebSocketResponse) -> None:
    request = socket._req
    if request is not None and request.transport is not None:
        request.transport.abort()
