"""ComfyUI's answers: what a workflow made, and what is behind its errors. Pure functions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agent import gpu
from agent.comfyui.workflow import Graph
from agent.errors import JobError, PermanentError, TransientError
from agent.http import Answer
from contract.job import unsound

_LONGEST_TEXT = 8192
_LONGEST_DETAIL = 2000


@dataclass(frozen=True)
class Ended:
    """A prompt that came to its end.

    Attributes:
        outputs: What each node showed, by id, as ComfyUI's history has it.
        node_errors: Why outputs of the workflow were left out, by node.
    """

    outputs: dict[str, Any]
    node_errors: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """A file that a node made.

    Attributes:
        node: The node's id.
        kind: The name under which the node shows it: `images`, `gifs`, `videos`, `audio`, …
        filename, subfolder, type: What `/view` wants to know.
    """

    node: str
    kind: str
    filename: str
    subfolder: str
    type: str

    @property
    def query(self) -> dict[str, str]:
        """The parameters of `/view`."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.type}


def ended(entry: Any) -> Ended:
    """Return the end that an entry of ComfyUI's history tells.

    Raises:
        PermanentError: A node failed; names it.
        TransientError: The GPU failed, or somebody interrupted the workflow.
    """
    entry = entry if isinstance(entry, dict) else {}
    status = entry.get("status")
    if isinstance(status, dict) and status.get("status_str") == "error":
        raise _failure(status.get("messages"))
    outputs = entry.get("outputs")
    shown = outputs.items() if isinstance(outputs, dict) else ()
    return Ended({node: _sound(output) for node, output in shown if isinstance(output, dict) and not unsound(node)})


def files(outputs: dict[str, Any], graph: Graph) -> list[File]:
    """Return the files in `outputs`, in the order of the workflow's nodes, which is the same in every attempt.

    Previews, which ComfyUI keeps as temporary files, count only where nothing was saved.
    """
    order = {node: place for place, node in enumerate(graph)}
    found = [
        file
        for node in sorted(outputs, key=lambda node: order.get(node, len(order)))
        for file in _files(node, outputs[node])
    ]
    saved = [file for file in found if file.type == "output"]
    return saved or [file for file in found if file.type == "temp"]


def texts(outputs: dict[str, Any]) -> dict[str, list[str]]:
    """Return the texts that nodes show, by node."""
    shown = {node: output.get("text") for node, output in outputs.items() if isinstance(output, dict)}
    return {
        node: [text[:_LONGEST_TEXT] for text in found if isinstance(text, str)]
        for node, found in shown.items()
        if isinstance(found, list) and any(isinstance(text, str) for text in found)
    }


def refusal(answer: Answer) -> JobError:
    """Return the error that ComfyUI means by not taking a prompt.

    A status of 400 is about the workflow, and names nodes; 413 about its size. Anything else is not about the job.
    """
    try:
        told = answer.json()
    except ValueError:
        told = None
    if answer.status == 400 and isinstance(told, dict):
        error = told.get("error")
        error = error if isinstance(error, dict) else {"message": str(error)}
        problems = list(_node_problems(told.get("node_errors")))
        if not problems:
            problems = [": ".join(str(error[key]) for key in ("message", "details") if error.get(key))]
        shown = told if len(answer.body) <= _LONGEST_DETAIL else None  # it may list every model there is
        return PermanentError("invalid-workflow", f"ComfyUI refused the workflow: {'; '.join(problems)[:1000]}", shown)
    kind = PermanentError if answer.status == 413 else TransientError
    text = answer.body[:_LONGEST_DETAIL].decode(errors="replace") or None
    return kind("runtime-error", f"ComfyUI answered HTTP {answer.status}", text)


def _failure(messages: Any) -> JobError:
    for kind, data in _messages(messages):
        if kind == "execution_interrupted":
            return TransientError("interrupted", "the workflow was interrupted")
        if kind == "execution_error":
            told = {key: data.get(key) for key in ("node_id", "node_type", "exception_type", "exception_message")}
            reason = ": ".join(str(told[key]).strip() for key in ("exception_type", "exception_message") if told[key])
            message = f"node {told['node_id']} ({told['node_type']}): {reason[:500]}"
            if gpu.is_trouble(reason):
                return TransientError("gpu-error", message, told)
            return PermanentError("runtime-error", message, told)
    return PermanentError("runtime-error", "ComfyUI tells of an error, and not of which")


def _sound(output: dict[str, Any]) -> dict[str, Any]:
    """Return what a node shows, without what could not be stored again, such as numbers that are none."""
    return {kind: items for kind, items in output.items() if not unsound([kind, items])}


def _messages(messages: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for message in messages if isinstance(messages, list) else ():
        match message:
            case [str(kind), dict(data)]:
                yield kind, data


def _node_problems(node_errors: Any) -> Iterator[str]:
    for node, told in node_errors.items() if isinstance(node_errors, dict) else ():
        if isinstance(told, dict) and isinstance(told.get("errors"), list):
            for error in told["errors"]:
                if isinstance(error, dict):
                    what = ": ".join(str(error[key]) for key in ("message", "details") if error.get(key))
                    yield f"node {node} ({told.get('class_type')}): {what}"


def _files(node: str, output: Any) -> Iterator[File]:
    for kind, items in output.items() if isinstance(output, dict) else ():
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and isinstance(item.get("filename"), str) and item["filename"]:
                subfolder, place = item.get("subfolder"), item.get("type")
                yield File(node, str(kind), item["filename"], str(subfolder or ""), str(place or "output"))
