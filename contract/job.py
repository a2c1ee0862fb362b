"""A job as it travels: what the API publishes to the input topic and what an agent receives from its queue."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from contract import keys

MAX_ID_LENGTH = 128
MAX_PREFIX_LENGTH = 512
MAX_WEBHOOK_LENGTH = 2048
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024
# Far deeper than any request or workflow, and far from what Python's own recursion bears.
MAX_DEPTH = 100
# Identifiers become part of S3 keys: no slash, and no name that consists of dots alone. Those of /v1 also of URLs.
_PLAIN_ID = re.compile(rf"(?!\.+$)[A-Za-z0-9._-]{{1,{MAX_ID_LENGTH}}}")

# Printable ASCII, as URLs are; whether one may be called is decided when it is.
_WEB_URL = re.compile(r"https?://[!-~]+")
_RESERVED = ", ".join(f"`{name}`" for name in sorted(keys.RESERVED))

# The fields that the guidance's oldest form hides among the scripts; they are the job's header and not for the web UI.
HEADER_FIELDS = frozenset({"task", "sd_model_checkpoint", "id_task", "uid", "save_dir", "image_link", "sd_vae"})


class Task(StrEnum):
    """The kinds of work a job can ask for, as the guidance spells them."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    EXTRA_SINGLE_IMAGE = "extra-single-image"
    EXTRA_BATCH_IMAGES = "extra-batch-images"
    PIPELINE = "pipeline"


# The guidance's code has this spelling, its documents the plural.
_TASK_ALIASES = {"extra-batch-image": Task.EXTRA_BATCH_IMAGES}

SDWEBUI_TASKS = frozenset(Task) - {Task.PIPELINE}
TASKS_BY_RUNTIME_TYPE = {"sdwebui": SDWEBUI_TASKS, "comfyui": frozenset({Task.PIPELINE})}


class Form(StrEnum):
    """The form of request a job came in; it decides the shape of the answer, the output document and the callback."""

    SEED = "seed"
    V1ALPHA1 = "v1alpha1"
    V1ALPHA2 = "v1alpha2"
    V1 = "v1"


class InvalidJobError(ValueError):
    """A message or request that can never become a job; `problems` names everything that is wrong with it."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Job:
    """One unit of work for one runtime.

    Attributes:
        id: The client's name for the job.
        runtime: The runtime that serves it.
        content: The inference server's request body (A1111 body or ComfyUI graph); empty when `content_ref` is set.
        prefix: The folder in the output bucket that the job's folder is put into; may be empty.
        context: Any JSON of the client's, echoed in the callback.
        created_at: When the job was accepted, if the publisher said so.
        content_ref: The S3 key, in the output bucket, of a content too large for a message.
        expires_at: It is not started after this.
        deadline: It is interrupted when it is not done by then.
        webhook: A URL that is told of its end.
        publication: Tells one publication of a request from another, and is the same for all deliveries of one.
    """

    id: str
    runtime: str
    task: Task
    content: dict[str, Any]
    prefix: str = "output"
    context: Any = field(default_factory=dict)
    form: Form = Form.V1
    created_at: datetime | None = None
    content_ref: str | None = None
    expires_at: datetime | None = None
    deadline: datetime | None = None
    webhook: str | None = None
    publication: str = ""

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what the job asks for: equal whenever it is delivered.

        A request of `/v1` that is repeated is the same job. Clients of the older forms have no way to say that, and
        may ask for the same again, under the same id: for another picture, or after they have mended what went wrong.
        """
        asked = [self.id, self.task, self.prefix, self.context, self.form, self.content, self.content_ref]
        if self.form is not Form.V1:
            asked.append(self.publication)
        return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def key(self) -> str:
        """The name of the job's record: `/v1` sees to it that an id is used once, the older forms do not."""
        name = keys.record_name(self.id)
        return name if self.form is Form.V1 else f"{name}~{self.digest[:12]}"

    @property
    def folder(self) -> str:
        """The folder of the job's outputs in the bucket, without a slash at its end."""
        return keys.folder(self.prefix, self.id)

    def image_key(self, number: int, extension: str) -> str:
        """Return the S3 key of the job's image `number` (from 1): the same for every attempt at the job.

        The guidance puts four random hex digits between id and number; ours come from the request instead.
        """
        return f"{self.folder}/{self.id}-{self.digest[:4]}-{number}{extension}"

    @property
    def document_key(self) -> str:
        """The S3 key of the output document, `.out`, in the form that the job came in."""
        name = "response" if self.form is Form.SEED else f"{self.id}-{self.digest[:4]}"
        return f"{self.folder}/{name}.out"

    @property
    def model(self) -> str | None:
        """The checkpoint that a Stable Diffusion job asks for, or None for whatever its runtime has loaded."""
        scripts = self.content.get("alwayson_scripts")
        name = scripts.get("sd_model_checkpoint") if isinstance(scripts, dict) else None
        return name if isinstance(name, str) and name else None


def encode(job: Job) -> str:
    """Return the message body for `job`: the guidance's `{"metadata", "content"}` and a few fields more."""
    metadata: dict[str, Any] = {
        "id": job.id,
        "runtime": job.runtime,
        "tasktype": job.task,
        "prefix": job.prefix,
        "context": job.context,
        "form": job.form,
    }
    times = {"created_at": job.created_at, "expires_at": job.expires_at, "deadline": job.deadline}
    metadata |= {name: time.isoformat() for name, time in times.items() if time}
    metadata |= {name: text for name in ("content_ref", "webhook") if (text := getattr(job, name))}
    return json.dumps({"metadata": metadata, "content": job.content}, ensure_ascii=False, separators=(",", ":"))


def decode(body: str, runtime: str, delivery: str = "") -> Job:
    """Return the job in the body of a queue message, whoever published it.

    Understood are our own messages and the guidance's (all versions), bare or in the envelope of an SNS notification.

    Args:
        body: The SQS message body.
        runtime: The runtime whose queue it came from: messages of the oldest form name none.
        delivery: SQS's id of the message, for messages that did not come through SNS.

    Raises:
        InvalidJobError: The body is not a job; nothing but that is ever raised.
    """
    try:
        message = json.loads(body)
        if isinstance(message, dict) and message.get("Type") == "Notification" and "Message" in message:
            delivery = str(message.get("MessageId") or delivery)
            message = json.loads(message["Message"])
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidJobError(f"the message is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise InvalidJobError("the message is not a JSON object")
    if "metadata" in message:
        return replace(_from_metadata(message, runtime), publication=delivery)
    if isinstance(message.get("alwayson_scripts"), dict):
        return replace(_from_seed(message, runtime), publication=delivery)
    raise InvalidJobError("the message has neither `metadata` and `content` nor `alwayson_scripts`")


def _from_metadata(message: dict[str, Any], runtime: str) -> Job:
    metadata, content = message["metadata"], message.get("content", {})
    if not isinstance(metadata, dict):
        raise InvalidJobError("`metadata` is not an object")
    named = metadata.get("runtime")
    return build(
        id=metadata.get("id"),
        # The guidance's second version says "legacy" in the messages of its older form.
        runtime=runtime if named is None or named == "legacy" else named,
        task=metadata.get("tasktype"),
        content=content,
        prefix=metadata.get("prefix", "output"),
        context=metadata.get("context", {}),
        form=metadata.get("form", Form.V1ALPHA2),
        created_at=metadata.get("created_at"),
        content_ref=metadata.get("content_ref"),
        expires_at=metadata.get("expires_at"),
        deadline=metadata.get("deadline"),
        webhook=metadata.get("webhook"),
    )


def _from_seed(message: dict[str, Any], runtime: str) -> Job:
    scripts = message["alwayson_scripts"]
    return build(
        id=scripts.get("id_task"),
        runtime=runtime,
        task=scripts.get("task"),
        content={name: value for name, value in message.items() if name != "s3_output_path"},
        prefix="",
        context={},
        form=Form.SEED,
    )


def build(
    *,
    id: Any,  # noqa: A002 - the field's name
    runtime: Any,
    task: Any,
    content: Any,
    prefix: Any,
    context: Any,
    form: Any,
    created_at: Any = None,
    content_ref: Any = None,
    expires_at: Any = None,
    deadline: Any = None,
    webhook: Any = None,
) -> Job:
    """Return a job made of values from outside, checked.

    Raises:
        InvalidJobError: Names every problem, in the terms of the request.
    """
    # The guidance never checked ids: numbers were used, and work.
    name = str(id) if isinstance(id, int) and not isinstance(id, bool) else id
    kind = _TASK_ALIASES.get(task, task) if isinstance(task, str) else task
    told = (
        _problem_of_id(name, form),
        None if isinstance(runtime, str) and runtime and runtime.isprintable() else "the runtime must be a name",
        None if isinstance(kind, str) and kind in list(Task) else f"the task must be one of {', '.join(Task)}",
        None if isinstance(content, dict) else "the content must be an object",
        (problem := unsound(content)) and f"the content {problem}",
        (problem := unsound(context)) and f"the context {problem}",
        _problem_of_prefix(prefix),
        None if form in list(Form) else f"the form must be one of {', '.join(Form)}",
        _problem_of_content_ref(content_ref, name),
        _problem_of_time("created_at", created_at),
        _problem_of_time("expires_at", expires_at),
        _problem_of_time("deadline", deadline),
        _problem_of_webhook(webhook),
    )
    if problems := [problem for problem in told if problem]:
        raise InvalidJobError(*problems)
    job = Job(
        id=name,
        runtime=runtime.lower(),  # runtimes are named in lower case; clients of the guidance write both
        task=Task(kind),
        content=content,
        prefix="/".join(part for part in prefix.split("/") if part),
        context=context,
        form=Form(form),
        created_at=_time(created_at),
        content_ref=content_ref,
        expires_at=_time(expires_at),
        deadline=_time(deadline),
        webhook=webhook,
    )
    if job.folder in keys.RESERVED:
        raise InvalidJobError(f"without a prefix the id must not be {_RESERVED}: those folders are the service's own")
    longest = max(len(key.encode()) for key in (job.image_key(9999, ".webm"), keys.record(job.key, keys.PROGRESS)))
    if longest > MAX_KEY_BYTES:
        raise InvalidJobError(f"id and prefix make S3 keys of {longest} bytes: {MAX_KEY_BYTES} are allowed")
    return job


def _problem_of_id(name: Any, form: Any) -> str | None:
    if form == Form.V1:
        plain = isinstance(name, str) and _PLAIN_ID.fullmatch(name)
        return None if plain else f"the id must be 1 to {MAX_ID_LENGTH} letters, digits, '.', '_' or '-'"
    usable = (
        isinstance(name, str)
        and 0 < len(name) <= MAX_ID_LENGTH
        and name.isprintable()
        and not {"/", "\\"} & set(name)
        and name.strip(".")
    )
    return None if usable else f"the id must be 1 to {MAX_ID_LENGTH} printable characters without a slash"


def _problem_of_prefix(prefix: Any) -> str | None:
    if isinstance(prefix, str) and len(prefix) <= MAX_PREFIX_LENGTH and prefix.isprintable() and "\\" not in prefix:
        parts = prefix.strip("/").split("/")
        if not {".", ".."} & set(parts) and parts[0] not in keys.RESERVED:
            return None
    return (
        f"the prefix must be a folder of at most {MAX_PREFIX_LENGTH} characters, without '.' or '..' parts, "
        f"and not {_RESERVED}"
    )


def _problem_of_content_ref(reference: Any, name: Any) -> str | None:
    if reference is None:
        return None
    if isinstance(reference, str) and isinstance(name, str) and name.isprintable():
        record = keys.record(keys.record_name(name)).removesuffix("/")
        if reference.startswith((f"{record}/", f"{record}~")) and reference.endswith(f"/{keys.CONTENT}"):
            return None
    return "`content_ref` must point to the content in the job's own record"


def _problem_of_time(name: str, text: Any) -> str | None:
    try:
        _time(text)
    except (TypeError, ValueError, OverflowError):
        return f"`{name}` is not an ISO 8601 time"
    return None


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def _problem_of_webhook(url: Any) -> str | None:
    if url is None:
        return None
    if isinstance(url, str) and len(url) <= MAX_WEBHOOK_LENGTH and _WEB_URL.fullmatch(url):
        return None
    return f"the webhook must be an https:// URL of at most {MAX_WEBHOOK_LENGTH} characters"


def unsound(value: Any) -> str | None:
    """Return what is wrong with JSON that Python reads but that cannot be written again or handled safely, or None."""
    level = [value]
    for _ in range(MAX_DEPTH):
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            return "holds a number that is not finite"
        if any(isinstance(item, str) and not _encodes(item) for item in level):
            return "holds half a character"
        lists = [item for item in level if isinstance(item, list)]
        dicts = [item for item in level if isinstance(item, dict)]
        level = [inner for outer in lists for inner in outer]
        level += [inner for outer in dicts for pair in outer.items() for inner in pair]
        if not level:
            return None
    return f"nests more than {MAX_DEPTH} levels deep"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
