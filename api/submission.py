"""What a client asks for with `POST /v1/jobs`, and the job that it becomes."""

import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api import bodies
from api.problem import Problem
from api.routing import DEFAULT_TASKS, Runtime, UnroutableError, route
from contract.job import Form, Job, Task, build, unsound

# As long as SQS keeps a message: whatever waits longer is lost.
LONGEST_SECONDS = 14 * 24 * 60 * 60

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def _valid(field: Literal["id", "task", "prefix", "webhook"], form: Form = Form.V1) -> AfterValidator:
    """Return the contract's own check of one field, so that all that is wrong with a request is said at once."""
    sound: dict[str, Any] = {
        "id": "id",
        "runtime": "any",
        "task": Task.PIPELINE,
        "content": {},
        "prefix": "",
        "context": {},
        "form": form,
    }

    # Most prefixes and tasks are the same ones, and a job is asked for by its id again and again.
    @lru_cache(maxsize=1024)
    def check(value: str | None) -> Any:
        return value if value is None else getattr(build(**(sound | {field: value})), field)

    return AfterValidator(check)


def _sound(value: Any) -> Any:
    if problem := unsound(value):
        raise ValueError(problem)
    return value


JobId = Annotated[str, _valid("id")]
# Clients of the older forms may also ask how their jobs fare.
AnyJobId = Annotated[str, _valid("id", Form.V1ALPHA2)]
Seconds = Annotated[int, Field(ge=1, le=LONGEST_SECONDS)]


class Submission(BaseModel):
    """A job to be done. It names a runtime, or a model, or neither when there is only one runtime."""

    model_config = ConfigDict(extra="forbid")

    id: JobId | None = Field(None, description="Your name for the job; made for you otherwise.")
    runtime: Annotated[str, AfterValidator(str.lower)] | None = Field(None, description="The runtime to run on.")
    model: Annotated[str, Field(min_length=1)] | None = Field(None, description="The checkpoint to draw with.")
    task: Annotated[str, _valid("task")] | None = Field(
        None, description=f"{', '.join(Task)}; by default the first for sdwebui and the last for comfyui."
    )
    input: Annotated[dict[str, Any], AfterValidator(_sound)] = Field(
        description="The inference server's request: A1111 body or ComfyUI workflow."
    )
    prefix: Annotated[str, _valid("prefix")] = Field("output", description="The folder for the job's output.")
    context: Annotated[Any, AfterValidator(_sound)] = Field(
        {}, description="Anything of yours, given back with the result."
    )
    expires_in: Seconds | None = Field(
        None, description="Seconds from now after which it is not started any more, and ends as `expired`."
    )
    deadline: Seconds | None = Field(
        None, description="Seconds from now after which it is of no use: it is interrupted, and ends as `failed`."
    )
    webhook: Annotated[str, _valid("webhook")] | None = Field(None, description="A URL that is told of its end.")

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all but the id: equal for a repeated request, also when the runtimes have changed."""
        asked = self.model_dump(exclude={"id"}, exclude_defaults=True)
        return sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def new_id(now: datetime) -> str:
    """Return an id that sorts by time: a ULID in lower case (48 bits of milliseconds, 80 of chance)."""
    number = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def admit(submission: Submission, runtimes: tuple[Runtime, ...], job_id: str, now: datetime) -> Job:
    """Return the job that `submission` asks for, routed.

    Raises:
        UnroutableError: No runtime can serve it.
        RequestValidationError: Its input is nothing that the runtime takes.
        Problem: 422, the input has no place for the model that the runtime must be told.
    """
    asked = None if submission.task is None else Task(submission.task)
    runtime = route(runtimes, runtime=submission.runtime, model=submission.model, task=asked)
    task = asked or DEFAULT_TASKS[runtime.type]
    if errors := input_errors(task, submission.input):
        raise RequestValidationError(errors)
    return Job(
        id=job_id,
        runtime=runtime.name,
        task=task,
        content=content_for(runtime, submission),
        prefix=submission.prefix,
        context=submission.context,
        form=Form.V1,
        created_at=now,
        expires_at=_later(now, submission.expires_in),
        deadline=_later(now, submission.deadline),
        webhook=submission.webhook,
    )


def input_errors(task: Task, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is wrong with a submission's `input`, in the form and with the places of FastAPI's own errors."""
    return [error | {"loc": ("body", "input", *error["loc"])} for error in bodies.check(task, body)]


def more_errors(found: RequestValidationError, runtimes: Callable[[], tuple[Runtime, ...]]) -> list[dict[str, Any]]:
    """Return what else is wrong with a submission in which errors were found: with its routing, and with its input.

    What the errors found are about is taken to be absent.
    """
    wrong = {error["loc"][1] for error in found.errors() if len(error["loc"]) > 1 and error["loc"][0] == "body"}
    if not isinstance(found.body, dict) or any(error["loc"][:2] == ("body", "input") for error in found.errors()):
        return []
    sound = {name: value for name, value in found.body.items() if name in {"runtime", "model", "task"} - wrong}
    task = Task(sound["task"]) if sound.get("task") else None
    if "runtime" not in wrong and "model" not in wrong:
        try:
            chosen = route(runtimes(), runtime=sound.get("runtime"), model=sound.get("model"), task=task)
            task = task or DEFAULT_TASKS[chosen.type]
        except UnroutableError as error:
            return [{"type": "unroutable", "loc": ("body", "runtime"), "msg": str(error)}]
        except Problem:
            return []  # there is no table yet, and what was found stands for itself
    return input_errors(task, found.body["input"]) if task else []


def content_for(runtime: Runtime, submission: Submission) -> dict[str, Any]:
    """Return what the inference server of `runtime` is to be asked: a dynamic one must be told the model, too.

    Raises:
        Problem: 422, the input has no place for that.
    """
    if submission.model is None or not runtime.dynamic:
        return submission.input
    scripts = submission.input.get("alwayson_scripts") or {}
    if not isinstance(scripts, dict):
        where = "input.alwayson_scripts"
        raise Problem(
            422, f"{where}: must be an object", errors=[(("body", "input", "alwayson_scripts"), "must be an object")]
        )
    return {**submission.input, "alwayson_scripts": {**scripts, "sd_model_checkpoint": submission.model}}


def _later(now: datetime, seconds: int | None) -> datetime | None:
    return None if seconds is None else now + timedelta(seconds=seconds)
