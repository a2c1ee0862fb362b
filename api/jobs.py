"""`/v1`: submit a job, see how it fares, learn which runtimes there are."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel

from api.problem import Problem, responses
from api.publisher import Parcel, Publisher, pack
from api.record import Records
from api.routing import Runtime
from api.runtimes import RoutingTable
from api.state import JobState, Links, States
from api.submission import JobId, Submission, admit, new_id
from contract import keys
from contract.job import TASKS_BY_RUNTIME_TYPE, Task, decode

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

    def __init__(self, records: Records, publisher: Publisher) -> None:
        self._records = records
        self._publisher = publisher

    def take(self, parcel: Parcel, digest: str) -> Parcel:
        """Record and publish a job; return what was, which for a repeated request is what it was the first time.

        Args:
            parcel: The job.
            digest: Tells its request from others with the same id.

        Raises:
            Problem: 409, another request has the id.
        """
        job = parcel.job
        message: dict[str, Any] = json.loads(parcel.message)
        document = {"message": message, "digest": digest, "created_at": message["metadata"]["created_at"]}
        # Recorded first: a job that was recorded and not published is mended by repeating its request.
        if self._records.create(job.key, document):
            self._publisher.send(parcel)
            return parcel
        recorded = self._records.read(job.key, keys.JOB)
        if recorded is None or recorded["digest"] != digest:
            taken = f'the id "{job.id}" is taken by a different request'
            raise Problem(409, taken, errors=[("id", taken)])
        text = json.dumps(recorded["message"], ensure_ascii=False, separators=(",", ":"))
        parcel = replace(parcel, job=decode(text, job.runtime), message=text)
        record = self._records.find(job.id)
        if record is None or not {keys.STARTED, keys.RESULT} & record.objects.keys():
            # Perhaps it is in the queue already: agents do a job that arrives twice only once.
            self._publisher.send(parcel)
        return parcel


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
        job_id = submission.id or idempotency_key or new_id(now)
        job = desk.take(pack(admit(submission, table.current(), job_id, now)), submission.digest).job
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
    def state(id: JobId, request: Request) -> JobState:  # noqa: A002 - the name in the path
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
    return Links(self=f"{request.scope.get('root_path', '')}/v1/jobs/{job_id}")
