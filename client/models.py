"""What the API says, as api/openapi.json describes it. Fields that a newer API adds are ignored."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
Task = Literal["text-to-image", "image-to-image", "extra-single-image", "extra-batch-images", "pipeline"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Links(_Model):
    """Where to go from here."""

    self: str


class Depth(_Model):
    """How many jobs a runtime has before it, about: those that wait, and those that an agent has taken."""

    waiting: int
    taken: int


class Progress(_Model):
    """How far a running job is.

    Attributes:
        progress: From 0 to 1.
        eta_s: Seconds to go.
        preview: The picture so far, as a `data:` URL.
    """

    progress: float = 0
    step: int | None = None
    steps: int | None = None
    eta_s: float | None = None
    preview: str | None = None


class Image(_Model):
    """A picture: its place in the bucket, and a link that works until it expires; None where there cannot be one."""

    url: str | None = None
    s3: str
    expires_at: datetime | None = None


class Failure(_Model):
    """Why a job did not succeed: a short name for programs, a sentence for people, and what the server answered."""

    code: str
    message: str
    detail: Any = None


class Delivery(_Model):
    """How telling a job's webhook of its end fares; what is `given-up` is not tried again.

    Attributes:
        http_status: What the webhook answered last.
        error: Why it was not told.
    """

    status: Literal["delivered", "failing", "given-up"]
    attempts: int
    attempted_at: datetime
    next_attempt_at: datetime | None = None
    http_status: int | None = None
    error: str | None = None


class Accepted(_Model):
    """A job that will be done."""

    id: str
    runtime: str
    status: Literal["queued"] = "queued"
    output_location: str
    created_at: datetime
    expires_at: datetime | None = None
    deadline: datetime | None = None
    links: Links


class Job(_Model):
    """A job and how it fares; what cannot be known yet is None.

    Attributes:
        images: The pictures that were asked for; `extras` are further ones, such as a grid.
        queue: The queue of a job that waits.
        timings: Seconds by step.
    """

    id: str
    runtime: str | None = None
    task: Task | None = None
    status: Status = "queued"
    output_location: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    deadline: datetime | None = None
    cancel_requested_at: datetime | None = None
    queue: Depth | None = None
    progress: Progress | None = None
    images: tuple[Image, ...] = ()
    extras: tuple[Image, ...] = ()
    seeds: tuple[int, ...] = ()
    parameters: dict[str, Any] = {}
    timings: dict[str, float] = {}
    error: Failure | None = None
    webhook: Delivery | None = None
    context: Any = None
    links: Links

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.status not in {"queued", "running"}

    @property
    def prompt(self) -> str:
        """What was to be drawn, where that is known: what was sent along with the job, or what the server told."""
        asked = self.context.get("asked") if isinstance(self.context, dict) else None
        given = asked.get("input") if isinstance(asked, dict) else None
        known = given if isinstance(given, dict) else self.parameters
        prompt = known.get("prompt")
        return prompt if isinstance(prompt, str) else ""


class JobList(_Model):
    """A page of jobs, newest first; the cursor asks for the next one."""

    jobs: tuple[Job, ...]
    cursor: str | None = None


class Runtime(_Model):
    """A runtime that jobs can ask for.

    Attributes:
        dynamic: Whether it loads whatever model a job asks for.
    """

    name: str
    type: Literal["sdwebui", "comfyui"]
    model: str | None = None
    dynamic: bool = False
    tasks: tuple[Task, ...]
    queue: Depth | None = None


class Runtimes(_Model):
    """All that can be asked for."""

    runtimes: tuple[Runtime, ...]


class Submission(_Model):
    """A job to be done.

    Attributes:
        input: The inference server's own request: an A1111 body, or a ComfyUI workflow.
        expires_in: Seconds after which it is not started any more.
        deadline: Seconds after which it is interrupted.
        webhook: A URL that is told of its end.
    """

    id: str | None = None
    runtime: str | None = None
    model: str | None = None
    task: str | None = None
    input: dict[str, Any]
    prefix: str = "output"
    context: Any = {}
    expires_in: int | None = None
    deadline: int | None = None
    webhook: str | None = None


class UploadRequest(_Model):
    """A file that is to be an input."""

    content_type: str
    size: int


class Upload(_Model):
    """Where to put a file, and what jobs call it afterwards."""

    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str]
    s3: str
    expires_at: datetime
