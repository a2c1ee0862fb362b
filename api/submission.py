"""What a client asks for with `POST /v1/jobs`, and the job that it becomes."""

import json
import secrets
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from api.problem import Problem
from api.routing import DEFAULT_TASKS, Runtime, route
from contract.job import Form, Job, Task, build

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def _valid(field: Literal["id", "task", "prefix"]) -> AfterValidator:
    """Return the contract's own check of one field, so that all that is wrong with a request is said at once."""
    sound: dict[str, Any] = {
        "id": "id",
        "runtime": "any",
        "task": Task.PIPELINE,
        "content": {},
        "prefix": "",
        "context": {},
        "form": Form.V1,
    }

    def check(value: Any) -> Any:
        return value if value is None else getattr(build(**(sound | {field: value})), field)

    return AfterValidator(check)


JobId = Annotated[str, _valid("id")]


class Submission(BaseModel):
    """A job to be done. It names a runtime, or a model, or neither when there is only one runtime."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    id: JobId | None = Field(None, description="Your name for the job; made for you otherwise.")
    runtime: Annotated[str, AfterValidator(str.lower)] | None = Field(None, description="The runtime to run on.")
    model: Annotated[str, Field(min_length=1)] | None = Field(None, description="The checkpoint to draw with.")
    task: Annotated[str, _valid("task")] | None = Field(
        None, description=f"{', '.join(Task)}; by default the first for sdwebui and the last for comfyui."
    )
    input: dict[str, JsonValue] = Field(description="The inference server's request: A1111 body or ComfyUI workflow.")
    prefix: Annotated[str, _valid("prefix")] = Field("output", description="The folder for the job's output.")
    context: JsonValue = Field({}, description="Anything of yours, given back with the result.")

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
    """
    task = None if submission.task is None else Task(submission.task)
    runtime = route(runtimes, runtime=submission.runtime, model=submission.model, task=task)
    content: dict[str, Any] = dict(submission.input)
    if submission.model is not None and runtime.dynamic:
        scripts = content.get("alwayson_scripts", {})
        if not isinstance(scripts, dict):
            where = "input.alwayson_scripts"
            raise Problem(422, f"{where}: must be an object", errors=[(where, "must be an object")])
        content["alwayson_scripts"] = {**scripts, "sd_model_checkpoint": submission.model}
    return Job(
        id=job_id,
        runtime=runtime.name,
        task=task or DEFAULT_TASKS[runtime.type],
        content=content,
        prefix=submission.prefix,
        context=submission.context,
        form=Form.V1,
        created_at=now,
    )
