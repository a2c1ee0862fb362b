"""What ComfyUI tells over its websocket while it works, and how far a workflow is by that."""

import base64
import json
import struct
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import websocket

from agent.adapter import MAX_PREVIEW_BYTES

# Between two attempts to connect.
_RECONNECT_S = 1.0
_CONNECT_TIMEOUT_S = 5.0
# https://github.com/Comfy-Org/ComfyUI/blob/master/protocol.py: the first four bytes of a binary message.
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_IMAGE_TYPES = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True)
class Event:
    """A message of ComfyUI.

    Attributes:
        kind: ComfyUI's name for it, `preview` for a picture, or `connected` for our own (messages may be missing).
        data: What it says; of a preview the `type` and the `image`.
    """

    kind: str
    data: dict[str, Any] = field(default_factory=dict)

    def ends(self, prompt_id: str) -> bool:
        """Return whether it says that a prompt has ended, and is in the history."""
        return self.kind == "executing" and self.data.get("node") is None and self.data.get("prompt_id") == prompt_id


class Events:
    """The websocket of one client, connected anew whenever it breaks. For one thread at a time.

    Args:
        base: ComfyUI's URL.
        client_id: Whose prompts are told of.
    """

    def __init__(self, base: str, client_id: str) -> None:
        parts = urlsplit(base)
        user, _, host = parts.netloc.rpartition("@")
        scheme = "wss" if parts.scheme == "https" else "ws"
        self._url = urlunsplit((scheme, host, f"{parts.path}/ws", f"clientId={client_id}", ""))
        self._header = [f"Authorization: Basic {base64.b64encode(user.encode()).decode()}"] if user else []
        self._socket: websocket.WebSocket | None = None
        self._again_at = 0.0

    @property
    def connected(self) -> bool:
        """Whether messages can come."""
        return self._socket is not None

    def open(self) -> bool:
        """Connect unless that is done, or was tried just now; return whether there is a new connection."""
        if self._socket or time.monotonic() < self._again_at:
            return False
        try:
            self._socket = websocket.create_connection(
                self._url,
                timeout=_CONNECT_TIMEOUT_S,
                header=self._header,
                suppress_origin=True,  # ComfyUI compares it with the host
                http_no_proxy=["*"],
                skip_utf8_validation=True,  # slow, and JSON is decoded anyway
            )
        except (OSError, websocket.WebSocketException):
            self._again_at = time.monotonic() + _RECONNECT_S
            return False
        return True

    def next(self, timeout_s: float) -> Event | None:
        """Return the next message, or None after `timeout_s` seconds without one."""
        until = time.monotonic() + timeout_s
        if self.open():
            return Event("connected")
        if self._socket is None:
            time.sleep(max(min(until, self._again_at) - time.monotonic(), 0))
            return None
        try:
            self._socket.settimeout(max(timeout_s, 0.001))
            opcode, data = self._socket.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except (OSError, websocket.WebSocketException):
            self.close()
            return None
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.close()
            return None
        return decoded(data, binary=opcode == websocket.ABNF.OPCODE_BINARY)

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        if self._socket:
            self._socket.shutdown()  # type: ignore[no-untyped-call]
            self._socket = None


def decoded(message: bytes | str, *, binary: bool) -> Event | None:
    """Return the event in a message, or None if it is none that we know how to read."""
    if isinstance(message, str):
        message = message.encode()
    return _preview(message) if binary else _event(message)


def _event(message: bytes) -> Event | None:
    try:
        told = json.loads(message)
    except (ValueError, RecursionError):
        return None
    match told:
        case {"type": str(kind), "data": dict(data)}:
            return Event(kind, data)
    return None


def _preview(message: bytes) -> Event | None:
    try:
        kind, number = struct.unpack_from(">II", message)
        if kind == _PREVIEW and number in _IMAGE_TYPES:
            return Event("preview", {"type": _IMAGE_TYPES[number], "image": message[8:]})
        if kind == _PREVIEW_WITH_METADATA:
            metadata = json.loads(message[8 : 8 + number])
            return Event("preview", {"type": str(metadata["image_type"]), "image": message[8 + number :]})
    except (struct.error, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


class Progress:
    """How far a prompt is: the nodes that are done, and the steps of the one that runs.

    Args:
        prompt_id: The prompt; what is told of others is passed over.
        nodes: How many nodes it has.
    """

    def __init__(self, prompt_id: str, nodes: int) -> None:
        self._prompt_id = prompt_id
        self._nodes = nodes
        self._done: set[str] = set()
        self._node: str | None = None
        self._step = self._steps = 0.0
        self._preview: str | None = None

    def note(self, event: Event) -> None:
        """Learn from an event."""
        data = event.data
        if data.get("prompt_id", self._prompt_id) != self._prompt_id:
            return
        match event.kind:
            case "execution_cached":
                self._done |= {str(node) for node in data.get("nodes") or [] if isinstance(node, str)}
            case "executing" | "executed":
                node = data.get("node")
                if self._node is not None and (node != self._node or event.kind == "executed"):
                    self._done.add(self._node)
                if event.kind == "executing" and node != self._node:
                    self._node, self._step, self._steps = (str(node) if node is not None else None), 0, 0
            case "progress":
                step, steps = data.get("value"), data.get("max")
                if isinstance(step, int | float) and isinstance(steps, int | float) and steps > 0:
                    self._step, self._steps = min(step, steps), steps
            case "preview":
                self._preview = _data_url(data)

    def told(self) -> dict[str, Any]:
        """Return it as `Adapter.progress` wants it."""
        running = self._step / self._steps if self._steps and self._node not in self._done else 0
        whole = min((len(self._done) + running) / self._nodes, 1.0) if self._nodes else 0.0
        return {
            "progress": round(whole, 4),
            "step": int(self._step) if self._steps else None,
            "steps": int(self._steps) if self._steps else None,
            "eta_s": None,
            "preview": self._preview,
        }


def _data_url(data: dict[str, Any]) -> str | None:
    image = data["image"]
    if len(image) > MAX_PREVIEW_BYTES:
        return None
    return f"data:{data['type']};base64,{base64.b64encode(image).decode()}"
