"""What a client asks for with `POST /v1/jobs`, and the job that it becomes."""

import json
import secrets
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.problem import Problem
from api.routing import DEFAULT_TASKS, Runtime, route
from contract.job import Form, Job, Task, build, unsound

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def _valid(field: Literal["id", "task", "prefix"], form: Form = Form.V1) -> AfterValidator:
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

    def check(value: Any) -> Any:
        return value if value is None else getattr(build(**(sound | {field: value})), field)

    return AfterValidator(check)


def _sound(value: Any) -> Any:
    if problem := unsound(value):
        raise ValueError(problem)
    return value


JobId = Annotated[str, _valid("id")]
# Clients of the older forms may also ask how their jobs fare.
AnyJobId = Annotated[str, _valid("id", Form.V1ALPHA2)]


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

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all but the id: equal for a repeated request, also when the runtimes have changed."""
        asked = self.model_dump(exclude={"id"})
        return sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def new_id(now: datetime) -> str:
    """Return an id that sorts by time: a ULID in lower case (48 bits of milliseconds, 80 of chance)."""
    number = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def admit(submission: Submission, runtimes: tuple[Runtime, ...], job_id: str, now: datetime) -> Job:
    """Return the job that `submission` asks for, routed.

    Raises:
        UnroutableError: No runtime can serve it.
        Problem: 422, the input has no place for the model that the runtime must be told.
    """
    task = None if submission.task is None else Task(submission.task)
    runtime = route(runtimes, runtime=submission.runtime, model=submission.model, task=task)
    return Job(
        id=job_id,
        runtime=runtime.name,
        task=task or DEFAULT_TASKS[runtime.type],
        content=content_for(runtime, submission),
        prefix=submission.prefix,
        context=submission.context,
        form=Form.V1,
        created_at=now,
    )


def content_for(runtime: Runtime, submission: Submission) -> dict[str, Any]:
    """Return what the inference server of `runtime` is to be asked: a dynamic one must be told the model, too.

    Raises:
        Problem: 422, the input has no place for that.
    """
    if submission.model is None or not runtime.dynamic:
        return submission.input
    scripts = submission.input.get("alwayson_scripts", {})
    if not isinstance(scripts, dict):
        where = "input.alwayson_scripts"
        raise Problem(422, f"{where}: must be an object", errors=[(where, "must be an object")])
    return {**submission.input, "alwayson_scripts": {**scripts, "sd_model_checkpoint": submission.model}}
