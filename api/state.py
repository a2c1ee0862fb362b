"""How a job fares, as its record tells."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.ending import overdue
from api.queues import Depth, Queues
from api.record import Document, Record, Records, Written, parse
from api.runtimes import RoutingTable
from api.signing import Signer
from contract import keys
from contract.job import Task
from contract.result import Failure, Result

# A record that is larger is read whenever it is asked for, so that what is remembered stays small.
_REMEMBERED_BYTES = 16 * 1024


class Links(BaseModel):
    """Where to go from here."""

    self: str


class Progress(BaseModel):
    """How far a running job is, as far as its inference server tells.

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


class Image(BaseModel):
    """A picture: a link that works for anybody until it expires, and its place in the bucket.

    There is no link to what is not in the output bucket, or is part of a job's record.
    """

    url: str | None = None
    s3: str
    expires_at: datetime | None = None


class Delivery(BaseModel):
    """How the webhook of a job fares.

    Attributes:
        status: `failing` ones are tried again; those `given-up` are not.
        attempts: How many there have been.
        http_status: What it answered last.
        error: Why it was not delivered.
    """

    status: Literal["delivered", "failing", "given-up"]
    attempts: int
    attempted_at: datetime
    next_attempt_at: datetime | None = None
    http_status: int | None = None
    error: str | None = None


class JobState(BaseModel):
    """A job and how it fares; what cannot be known yet is null."""

    id: str
    runtime: str | None = None
    task: Task | None = None
    status: Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"] = "queued"
    output_location: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = Field(None, description="It is not started any more after this.")
    deadline: datetime | None = Field(None, description="It is interrupted when it has not ended by then.")
    cancel_requested_at: datetime | None = None
    queue: Depth | None = Field(
        None, description="The queue of a job that waits: at most so many are before it. Null where it cannot be known."
    )
    progress: Progress | None = None
    images: list[Image] = []
    extras: list[Image] = Field([], description="Pictures besides those asked for: a grid, an extension's own.")
    seeds: list[int] = []
    parameters: dict[str, Any] = {}
    timings: dict[str, float] = {}
    error: Failure | None = None
    webhook: Delivery | None = Field(
        None, description="How telling the job's webhook of its end fares; null before the first attempt, and in lists."
    )
    context: Any = None
    links: Links


class States:
    """Reads the states of jobs."""

    def __init__(
        self,
        records: Records,
        table: RoutingTable,
        queues: Queues,
        bucket: str,
        signer: Signer,
    ) -> None:
        self._records = records
        self._table = table
        self._queues = queues
        self._bucket = bucket
        self._signer = signer
        # A job is asked for again and again, and most of its record stays as it is.
        self._remembered = lru_cache(maxsize=1024)(self._fetch)
        self._readers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="state")

    def state(self, record: Record, links: Links) -> JobState:
        """Return the state of the job that `record` is of: what was asked, and over it what came of it."""
        known: dict[str, Any] = {"id": record.job_id, "links": links}
        found = self._documents(record)
        recorded, started, begun = found.get(keys.JOB), record.objects.get(keys.STARTED), found.get(keys.STARTED) or {}
        if recorded:
            known |= self._asked(recorded["message"])
        if result := found.get(keys.RESULT):
            known |= self._ended(Result.model_validate(result)) | {"webhook": found.get(keys.WEBHOOK)}
        elif started and "returned_at" not in begun:
            known |= _begun(begun, started.at) | {"status": "running", "progress": found.get(keys.PROGRESS)}
        elif recorded and (ending := overdue(recorded["message"], datetime.now(UTC))):
            known |= {"status": ending.status, "error": ending.failure, "finished_at": ending.at}
        else:
            if started:  # and given back
                known |= _begun(begun, started.at) | {"started_at": None}
            known["queue"] = self._queue(known.get("runtime"))
        if cancelled := record.objects.get(keys.CANCEL):
            known["cancel_requested_at"] = cancelled.at
        return JobState.model_validate(known)

    def ended(self, key: str, links: Links) -> JobState | None:
        """Return the state of the job `key` if it has ended, from its result alone, or None: one look, and no list."""
        found = self._records.read(key, keys.RESULT)
        result = Result.model_validate(found) if found else None
        if result is None or not result.output_url:
            return None
        return JobState.model_validate({"id": result.id, "links": links} | self._ended(result))

    def _documents(self, record: Record) -> dict[str, Document | None]:
        """Return what there is of a record and still means something, read side by side."""
        lasting, changing = _telling(record.objects)
        beside = {name: self._readers.submit(self._records.fetch, record.key, name) for name in changing}
        written = tuple((name, record.objects[name]) for name in lasting)
        small = sum(each.size_bytes for _, each in written) <= _REMEMBERED_BYTES
        found = (self._remembered if small else self._fetch)(record.key, written)
        found = found | {name: fetched.result() for name, fetched in beside.items()}
        return {name: parse(stored) for name, stored in found.items()}

    def _fetch(self, key: str, written: tuple[tuple[str, Written], ...]) -> dict[str, bytes]:
        names = [name for name, _ in written]
        beside = {name: self._readers.submit(self._records.fetch, key, name) for name in names[1:]}
        # This thread can as well fetch one as wait.
        found = {name: self._records.fetch(key, name) for name in names[:1]}
        return found | {name: fetched.result() for name, fetched in beside.items()}

    def _queue(self, name: str | None) -> Depth | None:
        runtime = next((each for each in self._table.current() if each.name == name), None)
        return self._queues.depth(runtime) if runtime else None

    def _asked(self, message: dict[str, Any]) -> dict[str, Any]:
        metadata = message["metadata"]
        return {
            "runtime": metadata["runtime"],
            "task": metadata["tasktype"],
            "output_location": keys.url(self._bucket, keys.folder(metadata["prefix"], metadata["id"])),
            "created_at": metadata["created_at"],
            "expires_at": metadata.get("expires_at"),
            "deadline": metadata.get("deadline"),
            "context": metadata["context"],
        }

    def _ended(self, result: Result) -> dict[str, Any]:
        told = result.model_dump(include={"runtime", "status", "started_at", "finished_at", "seeds", "parameters"})
        # A message that was no job ends without a task, an output or a time; what was recorded stands then.
        told |= {
            name: value
            for name, value in {
                "task": result.task,
                "created_at": result.created_at,
                "output_location": result.output_url.rpartition("/")[0],
            }.items()
            if value
        }
        return told | {
            "images": [self._image(s3) for s3 in result.images],
            "extras": [self._image(s3) for s3 in result.masks],
            "timings": result.timings,
            "error": result.failure,
            "context": result.context,
        }

    def _image(self, s3: str) -> Image:
        # Agents run other people's code: what they write must not open more than the pictures of jobs.
        ours = keys.url(self._bucket, "")
        key = s3.removeprefix(ours)
        if not s3.startswith(ours) or key.partition("/")[0] in {"", *keys.RESERVED}:
            return Image(s3=s3)
        url, expires_at = self._signer.link(key)
        return Image(url=url, s3=s3, expires_at=expires_at)


def _begun(noted: dict[str, Any], written: datetime) -> dict[str, Any]:
    # Jobs of the older forms have nothing else to be known by. An agent may be newer than this API, though.
    begun: dict[str, Any] = {"started_at": noted.get("started_at") or written}
    if isinstance(noted.get("runtime"), str):
        begun["runtime"] = noted["runtime"]
    if noted.get("task") in list(Task):
        begun["task"] = noted["task"]
    return begun


def _telling(written: dict[str, Written]) -> tuple[list[str], list[str]]:
    """Return which objects of a record tell how its job fares: those that stay as they are, and those that change."""
    if keys.RESULT in written:
        lasting, changing = [keys.JOB, keys.RESULT], [keys.WEBHOOK]
    else:
        lasting, changing = [keys.JOB, keys.STARTED], [keys.PROGRESS]
        started, progress = written.get(keys.STARTED), written.get(keys.PROGRESS)
        # What is older than the start is of an attempt before this one.
        if not started or not progress or progress.at < started.at:
            changing = []
    return [name for name in lasting if name in written], [name for name in changing if name in written]
