"""Where jobs are taken in.

Whatever dies on the way, a job that was recorded is published: by whoever repeats its request, or by reconciliation,
which finds the note that was left in the outbox.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from fastapi.exceptions import RequestValidationError

from api.ending import overdue
from api.index import Index
from api.outbox import Note, Outbox
from api.problem import Problem, unavailable
from api.publisher import Parcel, Publisher, pack
from api.record import Records
from api.routing import Runtime, UnroutableError
from api.runtimes import RoutingTable
from api.submission import Submission, admit, content_for, new_id
from contract import keys
from contract.job import InvalidJobError, Job, decode

_DONE = {keys.STARTED, keys.RESULT}


class Fate(Enum):
    """What became of a job that a note was left of."""

    PUBLISHED = "published"
    DONE = "done"  # there was nothing left to do
    WAITS = "waits"  # for its runtime, which is not in the routing table
    LOST = "lost"  # its runtime has not come back in time


class Desk:
    """Takes jobs in: notes each down, records it under its id, once, publishes it, and lists it."""

    def __init__(
        self, table: RoutingTable, records: Records, publisher: Publisher, outbox: Outbox, index: Index
    ) -> None:
        self._table = table
        self._records = records
        self._publisher = publisher
        self._outbox = outbox
        self._index = index
        self._beside = ThreadPoolExecutor(max_workers=16, thread_name_prefix="index")

    def take(
        self, submission: Submission, given_id: str | None, now: datetime, after: Callable[[Callable[[], None]], None]
    ) -> Job:
        """Record and publish a job; return what was, which for a repeated request is what it was the first time.

        Args:
            submission: What is asked for.
            given_id: The job's id, when the client has chosen one.
            now: When it was asked for.
            after: Is given what can be done when the client has its answer.

        Raises:
            Problem: 409, another request has the id, or the runtime that the job was accepted for is gone.
            UnroutableError: No runtime can serve it.
            RequestValidationError: Its input is nothing that its runtime takes.
            InvalidJobError: It is too large, or holds what no message can carry.
        """
        runtimes = self._table.current()
        try:
            parcel = pack(admit(submission, runtimes, given_id or new_id(now), now))
        except (InvalidJobError, Problem, UnroutableError, RequestValidationError):
            # What was accepted stays accepted, whatever has become of the runtimes since.
            if given_id and (first := self._repeat(submission, given_id, runtimes)):
                return first
            raise
        message: dict[str, Any] = json.loads(parcel.message)
        document = {
            "message": message,
            "digest": submission.digest,
            "created_at": message["metadata"]["created_at"],
        }
        note = Note(parcel.job.key, document, parcel.content)
        self._outbox.put(note)
        if self._records.create(parcel.job.key, keys.JOB, document):
            try:
                self._announce(parcel, now)
            except Exception:
                if given_id is None:
                    # Its client was never told the id, and asks for another job: this one is nobody's.
                    self._outbox.strike(note.place)
                raise
            job = parcel.job
        else:
            try:
                first = self._repeat(submission, parcel.job.id, runtimes)
            except Problem:
                self._outbox.strike(note.place)
                raise
            if first is None:
                raise unavailable(f'the job "{parcel.job.id}" is just being removed; try again')
            job = first
        after(lambda: self._outbox.strike(note.place))
        return job

    def complete(self, place: str) -> Fate:
        """Do what is left to be done of a job, by the note of it at an S3 key, and strike the note out."""
        note = self._outbox.read(place)
        if note is None:
            return Fate.DONE
        created = self._records.create(note.key, keys.JOB, note.document)
        recorded = note.document if created else self._records.read(note.key, keys.JOB)
        fate = Fate.DONE
        # Else another request has the id, or the record has expired in the meantime.
        if recorded and recorded["digest"] == note.document["digest"]:
            job = _job(recorded)
            if not self._is_done(job):
                if any(each.name == job.runtime for each in self._table.current()):
                    # Too late or not: its agent tells whoever wants to know.
                    self._announce(Parcel(job, _text(recorded), note.content), _created_at(recorded))
                    fate = Fate.PUBLISHED
                elif overdue(recorded["message"], datetime.now(UTC)):
                    fate = Fate.LOST
                else:
                    return Fate.WAITS
        self._outbox.strike(place)
        return fate

    def _repeat(self, submission: Submission, job_id: str, runtimes: Sequence[Runtime]) -> Job | None:
        """Return the job that was recorded for this request the first time, or None; see to it that it is published."""
        recorded = self._records.read(keys.record_name(job_id), keys.JOB)
        if recorded is None:
            return None
        if recorded["digest"] != submission.digest:
            taken = f'the id "{job_id}" is taken by a different request'
            raise Problem(409, taken, errors=[(("body", "id"), taken)])
        job = _job(recorded)
        if self._is_done(job):
            return job
        runtime = next((each for each in runtimes if each.name == job.runtime), None)
        if runtime is None:
            gone = f'the job "{job_id}" was accepted for the runtime "{job.runtime}", which is gone; use another id'
            raise Problem(409, gone, errors=[(("body", "runtime"), gone)])
        # Perhaps it is in the queue already: agents do a job that arrives twice only once.
        self._announce(Parcel(job, _text(recorded), content_for(runtime, submission)), _created_at(recorded))
        return job

    def _announce(self, parcel: Parcel, created_at: datetime) -> None:
        """Publish a job, and list it in the meantime."""
        listed = self._beside.submit(self._index.add, created_at, parcel.job.key)
        self._publisher.send(parcel)
        listed.result()

    def _is_done(self, job: Job) -> bool:
        record = self._records.at(job.key)
        return bool(record and _DONE & record.objects.keys())


def _job(document: dict[str, Any]) -> Job:
    return decode(_text(document), "")


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document["message"], ensure_ascii=False, separators=(",", ":"))


def _created_at(document: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(document["created_at"]).astimezone(UTC)
