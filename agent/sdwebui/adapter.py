"""How the pipeline talks to the web UI."""

import json
import threading
from dataclasses import dataclass, field
from typing import Any

import structlog

from agent.adapter import Fetch, Output
from agent.errors import JobError, PermanentError, RuntimeLostError, TransientError
from agent.http import Client
from agent.sdwebui import answer as answers
from agent.sdwebui import body as bodies
from agent.sdwebui import models
from agent.sdwebui.models import Model
from agent.settings import Settings
from contract.job import SDWEBUI_TASKS, Job, Task

log = structlog.get_logger()

_PATHS = {
    Task.TEXT_TO_IMAGE: "txt2img",
    Task.IMAGE_TO_IMAGE: "img2img",
    Task.EXTRA_SINGLE_IMAGE: "extra-single-image",
    Task.EXTRA_BATCH_IMAGES: "extra-batch-images",
}
# For what the web UI answers beside its work.
_SOON_S = 10.0
# For reading its folder of models, which may be on a network.
_REFRESH_S = 30.0
# The pipeline gives up a request after its own time; the connection is left a little longer.
_GRACE_S = 60.0
_SHOWN_MODELS = 20
# With a preview that is larger than what is told, and would be a strange one.
_PROGRESS_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Request:
    """A job as the web UI will be asked for it.

    Attributes:
        path: The route below `/sdapi/v1`.
        body: The request body, encoded.
        model: What must be loaded, or None for whatever is.
        expected: How many pictures are asked for; further ones are extras. None: all that come.
    """

    path: str
    body: bytes = field(repr=False)
    model: Model | None = None
    expected: int | None = None

    @property
    def affinity(self) -> str | None:
        """The model, by which requests are put together."""
        return self.model.title if self.model else None


class SdWebui:
    """The web UI at `API_BASE_URL`."""

    tasks = SDWEBUI_TASKS

    def __init__(self, settings: Settings) -> None:
        self._http = Client("the web UI", f"{settings.api_base_url}/sdapi/v1", settings.max_answer_bytes)
        self._only = None if settings.dynamic_sd_model else settings.sd_model_checkpoint
        self._dynamic = settings.dynamic_sd_model
        self._timeout_s = settings.job_timeout_seconds + _GRACE_S
        self._models: list[Model] = []
        self._loaded: Model | None = None
        # What is running, what of it is to end, and whether an interrupt is on its way and may still arrive.
        self._guard = threading.Lock()
        self._running: Request | None = None
        self._ending: Request | None = None
        self._stray = False

    def ready(self) -> None:
        """Return if the web UI answers and has the runtime's model."""
        self._loaded = None  # a server that was away may have been started anew
        options = self._options()
        self._stray = False  # it would have been answered before this
        if self._only and self._find(self._only) is None:
            raise RuntimeLostError("model-missing", f"the web UI does not have the model {self._only} (yet)")
        if not self._dynamic and not self._only and not options.get("sd_model_checkpoint"):
            raise RuntimeLostError("model-missing", "the web UI has no model loaded (yet)")

    def prepare(self, job: Job, content: dict[str, Any], fetch: Fetch) -> Request:
        """Return the request for a job: all inputs in it, and its model known to exist."""
        asked = bodies.asked(job, content)
        extra = job.task in bodies.EXTRAS
        model = None if extra else self._model(asked.model)
        expected = None if extra else _count(asked.body, "batch_size") * _count(asked.body, "n_iter")
        # Nothing but the encoded body is kept of what was fetched: it is large, and jobs wait for the GPU with it.
        body = json.dumps(bodies.embedded(asked.body, fetch(bodies.urls(asked.body)))).encode()
        return Request(_PATHS[job.task], body, model, expected)

    def run(self, request: Request) -> bytes:
        """Load the model if another one is loaded, and have the request done."""
        with self._guard:
            if self._stray:
                raise RuntimeLostError("runtime-busy", "the web UI has not answered an interrupt, which may come late")
            self._running = request
        try:
            if request.model and request.model != self._loaded:
                self._load(request.model)
            if self._ending is request:  # interrupted while a model was loaded: the web UI would have forgotten it
                raise TransientError("interrupted", "the job was interrupted before the web UI began it")
            return self._call("POST", request.path, request.body, self._timeout_s)
        except JobError:
            self._loaded = None  # whatever happened, look again before believing in it
            raise
        finally:
            with self._guard:  # an interrupt that is on its way is waited for: it must not hit the next request
                self._running = self._ending = None

    def read(self, request: Request, answer: bytes) -> Output:
        """Return the pictures, if the right model drew them."""
        parsed = answers.parsed(answer)
        if request.expected is None:
            return answers.enlarged(parsed)
        told = answers.info(parsed)
        if request.model and not request.model.drew(told):
            self._loaded = None
            name = told.get("sd_model_name")
            raise TransientError("wrong-model", f"the web UI drew with {name}, asked for was {request.model.title}")
        return answers.drawn(parsed, request.expected)

    def interrupt(self, request: Request) -> None:
        """End `request` if it is running: the web UI's own interrupt ends whatever runs."""
        with self._guard:
            if self._running is not request:
                return
            self._ending = request
            self._stray = True
            self._call("POST", "interrupt", b"{}", _SOON_S)
            self._stray = False

    def progress(self) -> dict[str, Any] | None:
        """Return how far the running request is."""
        told = answers.parsed(self._call("GET", "progress", None, _SOON_S, _PROGRESS_BYTES))
        state = told.get("state")
        state = state if isinstance(state, dict) else {}
        return {
            "progress": told.get("progress") or 0,
            "step": state.get("sampling_step"),
            "steps": state.get("sampling_steps"),
            "eta_s": told.get("eta_relative"),
            "preview": answers.preview(told.get("current_image")),
        }

    # --- models

    def _model(self, asked: str | None) -> Model | None:
        """Return the model that has to draw, or None for whatever is loaded.

        Raises:
            PermanentError: The runtime does not serve the model asked for.
        """
        if self._dynamic and not asked:
            return None
        if self._dynamic:
            return self._known(str(asked))
        only = self._only or str(self._options().get("sd_model_checkpoint"))
        model = self._find(only)
        if model is None:
            raise RuntimeLostError("model-missing", f"the web UI no longer has the model {only}")
        if asked and asked != only and asked not in model.names:
            raise PermanentError("wrong-model", f"this runtime serves {model.title}, the job asks for {asked}")
        return model

    def _known(self, name: str) -> Model:
        model = self._find(name)
        if model is None:
            there = ", ".join(sorted(model.title for model in self._models)[:_SHOWN_MODELS]) or "none"
            raise PermanentError("unknown-model", f"there is no model {name}; there are: {there}")
        return model

    def _find(self, name: str) -> Model | None:
        """Return the model of exactly this name; a list that lacks it is asked for again, then made anew."""
        found = models.find(self._models, name)
        if found is None:
            found = self._find_listed(name)
        if found is None:
            self._call("POST", "refresh-checkpoints", b"{}", _REFRESH_S)
            found = self._find_listed(name)
        return found

    def _find_listed(self, name: str) -> Model | None:
        try:
            self._models = models.models(json.loads(self._call("GET", "sd-models", None, _SOON_S)))
        except (ValueError, TypeError) as error:
            raise RuntimeLostError("runtime-lost", "the web UI's list of models is none") from error
        return models.find(self._models, name)

    def _load(self, model: Model) -> None:
        current = self._options().get("sd_model_checkpoint")
        if current not in model.names:
            log.info("loading model", model=model.title)
            body = json.dumps({"sd_model_checkpoint": model.title}).encode()
            self._loaded = None
            self._call("POST", "options", body, self._timeout_s)
        self._loaded = model

    # --- HTTP

    def _options(self) -> dict[str, Any]:
        try:
            return answers.parsed(self._call("GET", "options", None, _SOON_S))
        except (PermanentError, TransientError) as error:
            raise RuntimeLostError("runtime-lost", f"the web UI does not tell its options: {error}") from error

    def _call(
        self, method: str, path: str, body: bytes | None, timeout_s: float, max_bytes: int | None = None
    ) -> bytes:
        """Return the body of the web UI's answer. Nothing is ever sent twice.

        Raises:
            RuntimeLostError: The web UI was not there, or went away.
            PermanentError, TransientError: It answered with an error.
        """
        answer = self._http.call(method, path, body, timeout_s=timeout_s, max_bytes=max_bytes)
        if not answer.ok:
            raise answers.refusal(answer.status, answer.body)
        return answer.body


def _count(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    return value if isinstance(value, int) and value > 0 else 1
