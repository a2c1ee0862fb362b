"""`/v1`: submit a job, see how it fares, cancel it, list them all, learn which runtimes there are."""

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

import structlog
from fastapi import APIRouter, BackgroundTasks, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from api import index
from api.ending import cancel
from api.listing import LONGEST_PAGE, JobList, Status
from api.problem import Problem, responses
from api.queues import Depth
from api.record import Record, Records
from api.routing import Runtime
from api.service import Service
from api.state import JobState, Links
from api.submission import AnyJobId, JobId, Submission, more_errors
from api.waiting import LONGEST_SECONDS
from contract import keys
from contract.job import TASKS_BY_RUNTIME_TYPE, Task

log = structlog.get_logger()


class Accepted(BaseModel):
    """A job that will be done."""

    id: str
    runtime: str
    status: Literal["queued"] = "queued"
    output_location: str
    created_at: datetime
    expires_at: datetime | None = None
    deadline: datetime | None = None
    links: Links


class RuntimeState(Runtime):
    """A runtime that jobs can ask for."""

    tasks: list[Task]
    queue: Depth | None = Field(None, description="Null where it cannot be known.")


class Runtimes(BaseModel):
    """All that can be asked for."""

    runtimes: list[RuntimeState]


def router(service: Service) -> APIRouter:
    """Return the routes of `/v1`."""

    class Thorough(APIRoute):
        """A route that says what is wrong with a job's input, too, when something else is wrong already."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                try:
                    return await handle(request)
                except RequestValidationError as error:
                    more = await run_in_threadpool(more_errors, error, service.table.current)
                    raise RequestValidationError([*error.errors(), *more]) from error

            return answer if self.name == "submit" else handle

    routes = APIRouter(prefix="/v1", tags=["v1"], route_class=Thorough)

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
        background: BackgroundTasks,
        idempotency_key: Annotated[JobId | None, Header(description="The job's id, if the body has none.")] = None,
    ) -> Accepted:
        """Submit a job. A request repeated with its id is answered as the first time, and done once."""
        if submission.id and idempotency_key and submission.id != idempotency_key:
            differs = "must equal the header Idempotency-Key, or be left out"
            raise Problem(422, f"id: {differs}", errors=[(("body", "id"), differs)])
        now = datetime.now(UTC)
        job = service.desk.take(submission, submission.id or idempotency_key, now, background.add_task)
        log.info("job accepted", id=job.id, runtime=job.runtime, form=job.form)
        links = _links(request, job.id)
        response.headers["Location"] = links.self
        return Accepted(
            id=job.id,
            runtime=job.runtime,
            output_location=keys.url(service.bucket, job.folder),
            created_at=job.created_at or now,
            expires_at=job.expires_at,
            deadline=job.deadline,
            links=links,
        )

    @routes.get("/jobs", responses=responses(422, 503))
    def list_jobs(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE, description="The most jobs of a page.")] = 20,
        cursor: Annotated[str, Query(description="Where to go on, from the page before.", max_length=1024)] = "",
        status: Annotated[Status | None, Query(description="Only jobs with this status.")] = None,
        runtime: Annotated[str | None, Query(description="Only jobs of this runtime.")] = None,
    ) -> JobList:
        """List jobs, newest first. A page may hold fewer than asked for: go on while it has a cursor."""
        try:
            after = index.entry(cursor) if cursor else ""
        except ValueError as error:
            raise Problem(422, f"cursor: {error}", errors=[(("query", "cursor"), str(error))]) from error
        name = runtime and runtime.lower()
        return service.listing.page(after, limit, status, name, lambda job_id: _links(request, job_id))

    def look(job_id: str, request: Request) -> tuple[str, JobState]:
        record = _find(service.records, job_id)
        return record.key, service.states.state(record, _links(request, job_id))

    @routes.get("/jobs/{id}", responses=responses(404, 422, 503))
    async def get_job(
        id: AnyJobId,  # noqa: A002 - the name in the path
        request: Request,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_SECONDS, description="Seconds to wait for the job's end, if need be.")
        ] = 0,
    ) -> JobState:
        """See how a job fares, whichever form it came in; those of the older forms are known once they start."""
        key, state = await run_in_threadpool(look, id, request)
        if wait and state.finished_at is None:
            await service.waiting.ended(key, wait, request.is_disconnected)
            _, state = await run_in_threadpool(look, id, request)
        return state

    @routes.delete(
        "/jobs/{id}",
        responses={
            **responses(404, 422, 503),
            202: {"model": JobState, "description": "It runs, and will be interrupted."},
        },
    )
    def cancel_job(id: AnyJobId, request: Request, response: Response) -> JobState:  # noqa: A002
        """Cancel a job. One that waits ends at once, one that runs soon (202); one that has ended stays as it is."""
        cancel(service.records, _find(service.records, id), datetime.now(UTC))
        _, state = look(id, request)
        if state.status in {"queued", "running"}:
            response.status_code = 202
        log.info("job cancelled", id=id, status=state.status)
        return state

    # Depths are asked for side by side: there is a queue for each runtime.
    askers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="depth")

    @routes.get("/runtimes", responses=responses(503))
    def list_runtimes() -> Runtimes:
        """List the runtimes that jobs can ask for, and what waits for each."""
        table = service.table.current()
        return Runtimes(
            runtimes=[
                RuntimeState(**each.model_dump(), tasks=sorted(TASKS_BY_RUNTIME_TYPE[each.type]), queue=depth)
                for each, depth in zip(table, askers.map(service.queues.depth, table), strict=True)
            ]
        )

    return routes


def _find(records: Records, job_id: str) -> Record:
    record = records.find(job_id)
    if record is None:
        raise Problem(404, f'there is no job "{job_id}"')
    return record


async def _only_json(content_type: Annotated[str, Header(include_in_schema=False)] = "") -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send the job as JSON, with the header Content-Type: application/json")


def _links(request: Request, job_id: str) -> Links:
    # Behind API Gateway the stage comes before the path.
    return Links(self=f"{request.scope.get('root_path', '')}/v1/jobs/{quote(job_id, safe='')}")
