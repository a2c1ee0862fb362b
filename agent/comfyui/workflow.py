"""Workflows in the format of ComfyUI's API: `{id: {"class_type", "inputs"}}`. Pure functions."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from agent.errors import PermanentError
from agent.store import media_type
from contract.job import Job

_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_DATA_URL = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[a-z0-9]{1,5}")
_MODEL_FILES = (".safetensors", ".ckpt", ".sft", ".gguf", ".pt", ".pth")
# Inputs that a node does not declare, such as numbered ones.
_FILE_NAME = re.compile(r"image|mask|video|audio|file", re.IGNORECASE)
_MOST_TOLD = 10

Graph = dict[str, dict[str, Any]]
# Returns whether an input of a class of nodes names a file: class, name of the input.
IsFile = Callable[[str, str], bool]


@dataclass(frozen=True)
class Workflow:
    """What a job asks ComfyUI for.

    Attributes:
        graph: The nodes by id; files in it may still be URLs.
        extra: `extra_data` of the request, which some nodes need.
    """

    graph: Graph
    extra: dict[str, Any]

    @property
    def models(self) -> str:
        """The model files that the nodes name, in one text: equal for jobs that need the same ones loaded."""
        values = (value for node in self.graph.values() for value in node["inputs"].values())
        return ",".join(sorted({it for it in values if isinstance(it, str) and it.endswith(_MODEL_FILES)}))


def workflow(content: Mapping[str, Any]) -> Workflow:
    """Return the workflow in a job's content: a graph, or a whole body of `POST /prompt` with one.

    Raises:
        PermanentError: There is none; names every node that is wrong.
    """
    if isinstance(content.get("nodes"), list) and "links" in content:
        raise _invalid("this is a workflow as the editor saves it: export it with 'Export (API)'")
    body = content.get("prompt")
    whole = isinstance(body, dict) and "class_type" not in body
    nodes = dict(body if whole and isinstance(body, dict) else content)
    if not whole:
        nodes.pop("s3_output_path", None)  # the guidance's oldest API puts it into every content
    if not nodes:
        raise _invalid("the workflow has no nodes")
    if wrong := [problem for name, node in nodes.items() if (problem := _problem(name, node))]:
        more = f" (and {len(wrong) - _MOST_TOLD} more)" if len(wrong) > _MOST_TOLD else ""
        raise _invalid("; ".join(wrong[:_MOST_TOLD]) + more)
    extra = content.get("extra_data") if whole else None
    return Workflow(
        {name: node | {"inputs": node.get("inputs") or {}} for name, node in nodes.items()},
        dict(extra) if isinstance(extra, dict) else {},
    )


def prompt_id(job: Job) -> str:
    """Return the id that a job has in ComfyUI, in every attempt: a UUID, for it takes nothing else."""
    return str(uuid5(NAMESPACE_URL, f"darkroom.dev/{job.key}"))


def classes_with_urls(graph: Graph) -> set[str]:
    """Return the classes of nodes that have a URL in some input, whether it is text or names a file."""
    found: set[str] = set()

    def note(class_type: str, _: str, text: str) -> str:
        if _URL.fullmatch(text) or _DATA_URL.match(text):
            found.add(class_type)
        return text

    _map_inputs(graph, note)
    return found


def is_file(declared: Any, name: str) -> bool:
    """Return whether the input `name` of a node chooses a file, by what ComfyUI's `object_info` tells of its class.

    A text is the node's own to read, a prompt for instance; where ComfyUI wants one name of a list of files, a URL can
    only mean what is behind it.
    """
    for inputs in declared.get("input", {}).values() if isinstance(declared, dict) else ():
        if isinstance(inputs, dict) and isinstance(inputs.get(name), list) and inputs[name]:
            return bool(inputs[name][0] != "STRING")
    return bool(_FILE_NAME.search(name))


def files(graph: Graph, wanted: IsFile) -> list[str]:
    """Return the URLs, `data:` URLs among them, in inputs that name files."""
    found: list[str] = []

    def note(class_type: str, name: str, text: str) -> str:
        if (_URL.fullmatch(text) or _DATA_URL.match(text)) and wanted(class_type, name):
            found.append(text)
        return text

    _map_inputs(graph, note)
    return list(dict.fromkeys(found))


def with_files(graph: Graph, wanted: IsFile, names: Mapping[str, str]) -> Graph:
    """Return `graph` with each URL that names a file replaced by ComfyUI's name for what is there."""
    return _map_inputs(graph, lambda kind, name, text: names.get(text, text) if wanted(kind, name) else text)


def decoded(url: str) -> bytes | None:
    """Return what a `data:` URL holds, or None if it is none.

    Raises:
        PermanentError: It is not base64.
    """
    head = _DATA_URL.match(url)
    if head is None:
        return None
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise PermanentError("invalid-content", "a `data:` URL in the workflow is not base64") from error


def upload_name(url: str, data: bytes) -> str:
    """Return the name under which an input is uploaded: its content's, so that ComfyUI keeps equal files once.

    The extension is what its bytes are, or else that of the URL: ComfyUI goes by it.
    """
    extension = media_type(data)[0]
    if extension == ".bin" and not _DATA_URL.match(url):
        named = PurePosixPath(urlsplit(url).path).suffix.lower()
        extension = named if _EXTENSION.fullmatch(named) else extension
    return f"{hashlib.sha256(data).hexdigest()[:32]}{extension}"


def _problem(name: str, node: Any) -> str | None:
    if not isinstance(node, dict):
        return f"node {name!r} is not an object"
    if not isinstance(node.get("class_type"), str) or not node["class_type"]:
        return f"node {name!r} has no `class_type`"
    if not isinstance(node.get("inputs") or {}, dict):
        return f"the `inputs` of node {name!r} are not an object"
    return None


def _map_inputs(graph: Graph, change: Callable[[str, str, str], str]) -> Graph:
    """Return `graph` with each text among the inputs changed; `change` is told the class and the input's name."""

    def mapped(class_type: str, name: str, value: Any) -> Any:
        if isinstance(value, str):
            return change(class_type, name, value)
        if isinstance(value, list):
            return [mapped(class_type, name, item) for item in value]
        if isinstance(value, dict):
            return {key: mapped(class_type, name, item) for key, item in value.items()}
        return value

    return {
        node_id: node | {"inputs": {name: mapped(node["class_type"], name, it) for name, it in node["inputs"].items()}}
        for node_id, node in graph.items()
    }


def _invalid(problem: str) -> PermanentError:
    return PermanentError("invalid-content", f"the content is no workflow: {problem}")
