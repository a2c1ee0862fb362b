"""`/v1`: submit a job, see how it fares, learn which runtimes there are."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel

from api.problem import Problem, responses, unavailable
from api.publisher import Parcel, Publisher, pack
from api.record import Records
from api.routing import Runtime, UnroutableError
from api.runtimes import RoutingTable
from api.state import JobState, Links, States
from api.submission import AnyJobId, JobId, Submission, admit, content_for, new_id
from contract import keys
from contract.job import TASKS_BY_RUNTIME_TYPE, InvalidJobError, Job, Task, decode

log = structlog.get_logger()


class Accepted(BaseModel):
    """A job that will be done."""

    id: str
    runtime: str
    status: Literal["queued"] = "queued"
    output_location: str
    created_at: datetime
    links: Links


class RuntimeState(Runtime):
    """A runtime that jobs can ask for."""

    tasks: list[Task]


class Runtimes(BaseModel):
    """All that can be asked for."""

    runtimes: list[RuntimeState]


class Desk:
    """Takes jobs in: records each under its id, once, and publishes it."""

    def __init__(self, table: RoutingTable, records: Records, publisher: Publisher) -> None:
        self._table = table
        self._records = records
        self._publisher = publisher

    def take(self, submission: Submission, given_id: str | None, now: datetime) -> Job:
        """Record and publish a job; return what was, which for a repeated request is what it was the first time.

        Raises:
            Problem: 409, another request has the id, or the runtime that the job was accepted for is gone.
            UnroutableError: No runtime can serve it.
            InvalidJobError: It is too large, or holds what no message can carry.
        """
        runtimes = self._table.current()
        try:
            parcel = pack(admit(submission, runtimes, given_id or new_id(now), now))
        except (InvalidJobError, Problem, UnroutableError):
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
        # Recorded first: a job that was recorded and not published is mended by repeating its request.
        if self._records.create(parcel.job.key, document):
            self._publisher.send(parcel)
            return parcel.job
        first = self._repeat(submission, parcel.job.id, runtimes)
        if first is None:
            raise unavailable(f'the job "{parcel.job.id}" is just being removed; try again')
        return first

    def _repeat(self, submission: Submission, job_id: str, runtimes: Sequence[Runtime]) -> Job | None:
        """Return the job that was recorded for this request the first time, or None; see to it that it is published."""
        recorded = self._records.read(keys.record_name(job_id), keys.JOB)
        if recorded is None:
            return None
        if recorded["digest"] != submission.digest:
            taken = f'the id "{job_id}" is taken by a different request'
            raise Problem(409, taken, errors=[("id", taken)])
        text = json.dumps(recorded["message"], ensure_ascii=False, separators=(",", ":"))
        job = decode(text, "")
        record = self._records.find(job_id)
        if record and {keys.STARTED, keys.RESULT} & record.objects.keys():
            return job
        runtime = next((each for each in runtimes if each.name == job.runtime), None)
        if runtime is None:
            gone = f'the job "{job_id}" was accepted for the runtime "{job.runtime}", which is gone; use another id'
            raise Problem(409, gone, errors=[("runtime", gone)])
        # Perhaps it is in the queue already: agents do a job that arrives twice only once.
        self._publisher.send(Parcel(job, text, content_for(runtime, submission)))
        return job


def router(table: RoutingTable, desk: Desk, records: Records, states: States, bucket: str) -> APIRouter:
    """Return the routes of `/v1`."""
    routes = APIRouter(prefix="/v1", tags=["v1"])

    @routes.post(
        "/jobs",
        status_code=202,
        dependencies=[Depends(_only_json)],
        responses=responses(400, 409, 413, 415, 422, 503),
    )
    def submit(
        submission: Submission,
        request: Request,
        response: Response,
        idempotency_key: Annotated[JobId | None, Header(description="The job's id, if the body has none.")] = None,
    ) -> Accepted:
        """Submit a job. A request repeated with its id is answered as the first time, and done once."""
        if submission.id and idempotency_key and submission.id != idempotency_key:
            differs = "must equal the header Idempotency-Key, or be left out"
            raise Problem(422, f"id: {differs}", errors=[("id", differs)])
        now = datetime.now(UTC)
        job = desk.take(submission, submission.id or idempotency_key, now)
        log.info("job accepted", id=job.id, runtime=job.runtime, form=job.form)
        links = _links(request, job.id)
        response.headers["Location"] = links.self
        return Accepted(
            id=job.id,
            runtime=job.runtime,
            output_location=keys.url(bucket, job.folder),
            created_at=job.created_at or now,
            links=links,
        )

    @routes.get("/jobs/{id}", responses=responses(404, 422, 503))
    def state(id: AnyJobId, request: Request) -> JobState:  # noqa: A002 - the name in the path
        """See how a job fares, whichever form it came in; those of the older forms are known once they start."""
        record = records.find(id)
        if record is None:
            raise Problem(404, f'there is no job "{id}"')
        return states.state(record, _links(request, id))

    @routes.get("/runtimes", responses=responses(503))
    def runtimes() -> Runtimes:
        """List the runtimes that jobs can ask for."""
        return Runtimes(
            runtimes=[
                RuntimeState(**each.model_dump(), tasks=sorted(TASKS_BY_RUNTIME_TYPE[each.type]))
                for each in table.current()
            ]
        )

    return routes


def _only_json(content_type: Annotated[str, Header(include_in_schema=False)] = "") -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send the job as JSON, with the header Content-Type: application/json")


def _links(request: Request, job_id: str) -> Links:
    # Behind API Gateway the stage comes before the path.
    return Links(self=f"{request.scope.get('root_path', '')}/v1/jobs/{quote(job_id, safe='')}")
