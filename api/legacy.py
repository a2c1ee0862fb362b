"""The three forms of request that the guidance's clients speak; README.md has the table of what was decided."""

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NoReturn

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute

from api import problem
from api.problem import Problem
from api.publisher import Publisher, pack
from api.routing import Runtime, route
from api.runtimes import RoutingTable
from contract import keys
from contract.job import Form, Job, Task, build

log = structlog.get_logger()

_INCORRECT = "Incorrect payload structure"
_OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass(frozen=True)
class Asked:
    """What a request of an older form asks for.

    Attributes:
        job: The job, not yet routed.
        runtime: The runtime it names, in lower case, if its form does that.
        model: The checkpoint it is routed by otherwise.
        answer: What its client is told, besides where the output will be.
    """

    job: Job
    runtime: str | None
    model: str | None
    answer: dict[str, Any]


def seed(payload: Any) -> Asked:
    """Read the guidance's first form: an A1111 body with a header among its scripts."""
    scripts = payload.get("alwayson_scripts") if isinstance(payload, dict) else None
    if not isinstance(scripts, dict) or not {"task", "sd_model_checkpoint", "id_task"} <= scripts.keys():
        raise Problem(400, _INCORRECT)
    answer = {name: scripts[name] for name in ("id_task", "task", "sd_model_checkpoint")}
    return _by_model(payload, prefix="", form=Form.SEED, answer=answer)


def v1alpha1(payload: Any) -> Asked:
    """Read the same request with `save_dir` as its prefix; the guidance's OpenAPI file puts it into a `task`."""
    body = payload
    if isinstance(payload, dict) and "alwayson_scripts" not in payload and isinstance(payload.get("task"), dict):
        body = payload["task"]
    _require(body, "alwayson_scripts")
    scripts = body["alwayson_scripts"]
    _require(scripts, "task", "sd_model_checkpoint", "id_task")
    answer = {name: scripts[name] for name in ("id_task", "sd_model_checkpoint")}
    return _by_model(body, prefix=scripts.get("save_dir", "outputs"), form=Form.V1ALPHA1, answer=answer)


def v1alpha2(payload: Any) -> Asked:
    """Read the guidance's last form: metadata and content, in a `task`."""
    _require(payload, "task")
    task = payload["task"]
    _require(task, "metadata", "content")
    metadata = task["metadata"]
    _require(metadata, "id", "runtime", "tasktype")
    job = build(
        id=metadata["id"],
        runtime=metadata["runtime"],
        task=metadata["tasktype"],
        content=task["content"],
        prefix=metadata.get("prefix", "output"),
        context=metadata.get("context", {}),
        form=Form.V1ALPHA2,
    )
    return Asked(job, job.runtime, None, {"id": metadata["id"], "runtime": job.runtime})


FORMS: dict[str, Callable[[Any], Asked]] = {"/": seed, "/v1alpha1": v1alpha1, "/v1alpha2": v1alpha2}


def routed(asked: Asked, runtimes: Sequence[Runtime]) -> Job:
    """Return the job, routed.

    On ComfyUI every task is a pipeline: the guidance's agent never looks at it there, and the newest version of its API
    accepts only those of the web UI.

    Raises:
        UnroutableError: No runtime can serve it.
    """
    job = asked.job
    if any(each.name == asked.runtime and each.type == "comfyui" for each in runtimes):
        job = replace(job, task=Task.PIPELINE)
    chosen = route(runtimes, runtime=asked.runtime, model=asked.model, task=job.task)
    return replace(job, runtime=chosen.name)


class _TextErrors(APIRoute):
    """Routes whose clients expect status 400 and a line of text for whatever is wrong with a request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except problem.KINDS as error:
                found = problem.explain(error)
                if found is None:
                    raise
                status = 400 if found.status == 422 else found.status
                return PlainTextResponse(found.detail, status, found.headers)

        return answer


async def _raw(request: Request) -> bytes:
    return await request.body()


def router(table: RoutingTable, publisher: Publisher, bucket: str) -> APIRouter:
    """Return the routes of the guidance's forms. Each request costs one publication and no other call."""
    routes = APIRouter(route_class=_TextErrors, tags=["guidance"])

    def submit(read: Callable[[Any], Asked]) -> Callable[[bytes], dict[str, Any]]:
        def endpoint(body: Annotated[bytes, Depends(_raw)]) -> dict[str, Any]:
            asked = read(_json(body))
            job = routed(asked, table.current())
            publisher.send(pack(job))
            log.info("job accepted", id=job.id, runtime=job.runtime, form=job.form)
            return asked.answer | {"output_location": keys.url(bucket, job.folder)}

        return endpoint

    for path, read in FORMS.items():
        routes.add_api_route(
            path,
            submit(read),
            methods=["POST"],
            name=read.__name__,
            summary=f"Submit a job in the guidance's form ({read.__name__})",
            openapi_extra={
                "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
            },
            responses={
                400: {"description": "What is wrong", "content": {"text/plain": {"schema": {"type": "string"}}}}
            },
        )
        routes.add_api_route(path, _unsupported, methods=_OTHER_METHODS, include_in_schema=False)
    return routes


def _unsupported() -> PlainTextResponse:
    return PlainTextResponse("Unsupported HTTP method", 400)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"The request body is not JSON: {error}") from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _require(value: Any, *names: str) -> None:
    """Refuse a request without one of these names; like the guidance, say only the last that is missing."""
    if not isinstance(value, dict):
        raise Problem(400, _INCORRECT)
    for name in reversed(names):
        if name not in value:
            raise Problem(400, f"{_INCORRECT}, {name} is missing")


def _by_model(body: dict[str, Any], *, prefix: Any, form: Form, answer: dict[str, Any]) -> Asked:
    scripts = body["alwayson_scripts"]
    job = build(
        id=scripts["id_task"],
        runtime="unrouted",
        task=scripts["task"],
        content=body,
        prefix=prefix,
        context={},
        form=form,
    )
    if job.model is None:
        raise Problem(400, "sd_model_checkpoint must be the name of a model")
    return Asked(job, None, job.model, answer)
