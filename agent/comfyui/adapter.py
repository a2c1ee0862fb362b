"""How the pipeline talks to ComfyUI."""

import json
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import structlog

from agent import gpu
from agent.adapter import Fetch, Output
from agent.comfyui import answer as answers
from agent.comfyui import workflow as workflows
from agent.comfyui.answer import Ended, File
from agent.comfyui.events import Events, Progress
from agent.comfyui.workflow import Graph
from agent.errors import JobError, PermanentError, RuntimeLostError, TransientError
from agent.http import Answer, Client, LateError
from agent.settings import Settings
from contract.job import TASKS_BY_RUNTIME_TYPE, Job, unsound

log = structlog.get_logger()

# For what ComfyUI answers beside its work; its GPU work can hold it up.
_SOON_S = 10.0
# For checking and queueing a workflow, and for taking an input.
_PROMPT_S = 60.0
# How often a prompt is looked for: a message that says it has ended may be lost, or no connection be had for it.
LOOK_CONNECTED_S = 10.0
LOOK_S = 1.0


@dataclass(frozen=True)
class Request:
    """A job as ComfyUI will be asked for it.

    Attributes:
        prompt_id: Its id in ComfyUI.
        graph: The workflow, with the names of its inputs in ComfyUI.
        body: The request body, encoded.
        affinity: The models that it needs.
        ended: Its end, where ComfyUI did it for an agent that died before it could tell.
    """

    prompt_id: str
    graph: Graph = field(repr=False)
    body: bytes = field(repr=False)
    affinity: str | None = None
    ended: Ended | None = None


class ComfyUI:
    """ComfyUI at `API_BASE_URL`. It has a queue of its own, in which there is never more than one prompt of ours."""

    tasks = TASKS_BY_RUNTIME_TYPE["comfyui"]

    def __init__(self, settings: Settings) -> None:
        self._client_id = uuid4().hex
        self._max_bytes = settings.max_answer_bytes
        self._http = Client("ComfyUI", settings.api_base_url, self._max_bytes)
        self._events = Events(settings.api_base_url, self._client_id)
        self._progress: Progress | None = None
        self._declared: dict[str, Any] = {}
        # What is running, and whether it is to end.
        self._guard = threading.Lock()
        self._running: Request | None = None
        self._ending = False

    def ready(self) -> None:
        """Return if ComfyUI answers and is idle; what an agent before this one left in its queue is ended."""
        queue = self._queue()
        self._declared.clear()  # a server that was away may have other nodes
        if not queue:
            return
        log.info("ending what was left in the queue", prompts=sorted(queue))
        self._done("queue", {"clear": True})
        for prompt_id in queue:
            self._done("interrupt", {"prompt_id": prompt_id})
        raise RuntimeLostError("runtime-busy", "ComfyUI still works on what an agent before this one asked for")

    def prepare(self, job: Job, content: dict[str, Any], fetch: Fetch) -> Request:
        """Return the request for a job, its inputs uploaded."""
        flow = workflows.workflow(content)
        prompt_id = workflows.prompt_id(job)
        if ended := self._ended_before(prompt_id):
            return Request(prompt_id, flow.graph, b"", flow.models or None, ended)
        urls = workflows.files(flow.graph, self._is_file) if workflows.classes_with_urls(flow.graph) else []
        names = self._uploaded(urls, fetch)
        graph = workflows.with_files(flow.graph, self._is_file, names) if names else flow.graph
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": self._client_id,
            "extra_data": {"preview_method": "auto"} | flow.extra,
        }
        return Request(prompt_id, graph, json.dumps(body).encode(), flow.models or None)

    def run(self, request: Request) -> Ended:
        """Have the workflow done, and return what its nodes show."""
        if request.ended:
            return request.ended
        with self._guard:
            self._running, self._ending = request, False
        self._progress = Progress(request.prompt_id, len(request.graph))
        try:
            self._events.open()  # first, so that nothing is missed
            node_errors = self._post(request)
            if self._ending:  # it was not there yet when it was to end
                self._end(request.prompt_id)
            ended = answers.ended(self._wait(request.prompt_id))
            return replace(ended, node_errors=node_errors)
        except TransientError as error:
            if gpu.is_out_of_memory(str(error)):
                self._try("free", {"unload_models": True, "free_memory": True})
            raise
        finally:
            with self._guard:  # an interrupt that is on its way is waited for
                self._running = None
            self._progress = None
            self._events.close()

    def read(self, request: Request, answer: Ended) -> Output:
        """Return the files that the workflow made."""
        files = answers.files(answer.outputs, request.graph)
        texts = answers.texts(answer.outputs)
        if not files and not texts:
            raise PermanentError("no-images", "the workflow made nothing: a node that saves is needed, as SaveImage")
        left = self._max_bytes
        contents = []
        for file in files:
            contents.append(self._file(request, file, left))
            left -= len(contents[-1])
        self._try("history", {"delete": [request.prompt_id]})  # ComfyUI would keep the last 10,000
        told = {
            "outputs": [{"node": file.node, "kind": file.kind, "filename": file.filename} for file in files],
            "texts": texts,
            "node_errors": answer.node_errors,
        }
        return Output(contents, parameters={name: value for name, value in told.items() if value})

    def interrupt(self, request: Request) -> None:
        """End `request` if it is running or waits in ComfyUI's queue."""
        with self._guard:
            if self._running is request:
                self._ending = True
                self._end(request.prompt_id)

    def progress(self) -> dict[str, Any] | None:
        """Return how far the running workflow is."""
        progress = self._progress
        return progress.told() if progress else None

    # --- a prompt

    def _post(self, request: Request) -> dict[str, Any]:
        """Have the workflow queued, once; return why some of its outputs were left out."""
        try:
            answer = self._http.call("POST", "prompt", request.body, timeout_s=_PROMPT_S)
        except RuntimeLostError as error:
            # It may have been taken all the same: that is found out by its id, and not by asking again.
            try:
                self._look(request.prompt_id)
            except JobError:
                raise error from None
            log.warning("the answer to a prompt was lost, the prompt was not", reason=str(error))
            return {}
        if not answer.ok:
            raise answers.refusal(answer)
        told = _object(answer)
        if told.get("prompt_id", request.prompt_id) != request.prompt_id:
            self._end(str(told["prompt_id"]))
            raise RuntimeLostError("runtime-unsupported", "this ComfyUI gives prompts ids of its own: use a newer one")
        node_errors = told.get("node_errors")
        return node_errors if isinstance(node_errors, dict) and not unsound(node_errors) else {}

    def _wait(self, prompt_id: str) -> Any:
        """Return the entry in ComfyUI's history about a prompt as soon as there is one."""
        look_at = time.monotonic() + LOOK_S
        while True:
            event = self._events.next(max(look_at - time.monotonic(), 0))
            if event and self._progress:
                self._progress.note(event)
            over = event is not None and (event.kind == "connected" or event.ends(prompt_id))
            if not over and time.monotonic() < look_at:
                continue
            try:
                if (entry := self._look(prompt_id)) is not None:
                    return entry
            except LateError as error:
                log.debug("ComfyUI is slow", reason=str(error))  # as long as it is there, it may only be at work
            look_at = time.monotonic() + (LOOK_CONNECTED_S if self._events.connected else LOOK_S)

    def _look(self, prompt_id: str) -> Any:
        """Return the history of a prompt, or None while it is queued or runs.

        Raises:
            TransientError: It was taken out of the queue, as we wanted.
            RuntimeLostError: ComfyUI does not know it any more.
        """
        entry = self._history(prompt_id)
        if entry is None and prompt_id not in self._queue():
            entry = self._history(prompt_id)  # it may have ended between the two looks
            if entry is None and self._ending:
                raise TransientError("interrupted", "the workflow was interrupted before ComfyUI began it")
            if entry is None:
                raise RuntimeLostError("runtime-lost", "ComfyUI has forgotten the workflow: it was started anew")
        return entry

    def _ended_before(self, prompt_id: str) -> Ended | None:
        """Return the end of an earlier attempt that went well; one that did not is forgotten."""
        entry = self._history(prompt_id)
        if entry is None:
            return None
        try:
            return answers.ended(entry)
        except JobError:
            self._done("history", {"delete": [prompt_id]})
            return None

    def _end(self, prompt_id: str) -> None:
        self._done("queue", {"delete": [prompt_id]})
        self._done("interrupt", {"prompt_id": prompt_id})

    # --- files

    def _is_file(self, class_type: str, name: str) -> bool:
        """Return whether an input names a file, as ComfyUI declares it; each class is asked about once."""
        try:
            declared = self._declared[class_type]
        except KeyError:
            answer = self._http.call("GET", f"object_info/{quote(class_type, safe='')}", timeout_s=_SOON_S)
            declared = _object(answer).get(class_type) if answer.ok else None
            self._declared[class_type] = declared
        return workflows.is_file(declared, name)

    def _uploaded(self, urls: list[str], fetch: Fetch) -> dict[str, str]:
        """Return ComfyUI's name for what is at each URL, after it has got it."""
        held = {url: data for url in urls if (data := workflows.decoded(url)) is not None}
        held |= fetch([url for url in urls if url not in held])
        return {url: self._upload(workflows.upload_name(url, data), data) for url, data in held.items()}

    def _upload(self, name: str, data: bytes) -> str:
        # Whatever it is: ComfyUI has one folder for inputs, and this one way into it.
        answer = self._http.call("POST", "upload/image", files={"image": (name, data)}, timeout_s=_PROMPT_S)
        if answer.status == 413:
            raise PermanentError("input-too-large", f"ComfyUI takes no input of {len(data)} bytes")
        if not answer.ok:
            raise TransientError("runtime-error", f"ComfyUI answered an upload with HTTP {answer.status}")
        told = _object(answer)
        folder = told.get("subfolder")
        return f"{folder}/{told.get('name')}" if folder else str(told.get("name"))

    def _file(self, request: Request, file: File, max_bytes: int) -> bytes:
        try:
            answer = self._http.call("GET", "view", params=file.query, timeout_s=_PROMPT_S, max_bytes=max_bytes)
        except RuntimeLostError as error:
            raise TransientError("runtime-unavailable", f"{error}, before {file.filename} was fetched") from error
        if answer.ok and answer.body:
            return answer.body
        # Another attempt would be given the same names, from ComfyUI's cache.
        self._try("history", {"delete": [request.prompt_id]})
        self._try("free", {"free_memory": True})
        told = "an empty file" if answer.ok else f"HTTP {answer.status}"
        raise TransientError("output-missing", f"ComfyUI made {file.filename}, and answers with {told} for it")

    # --- HTTP

    def _history(self, prompt_id: str) -> Any:
        return self._told(f"history/{prompt_id}").get(prompt_id)

    def _queue(self) -> set[str]:
        """Return the ids of the prompts that run or wait."""
        told = self._told("queue")
        entries = [entry for name in ("queue_running", "queue_pending") for entry in told.get(name) or ()]
        return {str(entry[1]) for entry in entries if isinstance(entry, list) and len(entry) > 1}

    def _told(self, path: str) -> dict[str, Any]:
        answer = self._http.call("GET", path, timeout_s=_SOON_S)
        if not answer.ok:
            raise RuntimeLostError(
                "runtime-lost", f"ComfyUI answers HTTP {answer.status} for /{path.partition('/')[0]}"
            )
        return _object(answer)

    def _done(self, path: str, body: dict[str, Any]) -> None:
        answer = self._http.call("POST", path, json.dumps(body).encode(), timeout_s=_SOON_S)
        if not answer.ok:
            raise RuntimeLostError("runtime-lost", f"ComfyUI answers HTTP {answer.status} for /{path}")

    def _try(self, path: str, body: dict[str, Any]) -> None:
        try:
            self._done(path, body)
        except JobError as error:
            log.warning("ComfyUI does not tidy up", path=path, reason=str(error))


def _object(answer: Answer) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError as error:
        raise RuntimeLostError("runtime-lost", "ComfyUI's answer is not JSON: something else may answer") from error
    if not isinstance(told, dict):
        raise RuntimeLostError("runtime-lost", "ComfyUI's answer is not an object: something else may answer")
    return told
