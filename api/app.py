from fastapi import FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware

from api import jobs, legacy, openapi, pages, problem, uploads
from api.aws import Clients
from api.edge import Edge
from api.gate import Gate
from api.keys import Keys
from api.service import assemble
from api.settings import Settings


def create_app(settings: Settings, clients: Clients) -> FastAPI:
    """Return the API, wired to the given AWS clients."""
    service = assemble(settings, clients)
    app = FastAPI(
        title="Darkroom",
        summary="Asynchronous GPU inference: hand a job in, pick its pictures up later.",
        version="1",
        docs_url=None,  # their pages load scripts from another origin
        redoc_url=None,
        openapi_url=None,  # described in the document itself, below
        redirect_slashes=False,
        generate_unique_id_function=openapi.name,
    )
    # For who runs the server.
    app.state.service = service
    # The last one is the outermost.
    if settings.api_keys_file:
        app.add_middleware(Gate, keys=Keys(settings.api_keys_file))
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Content-Type", "Idempotency-Key", openapi.KEY_HEADER],
            expose_headers=["Location", "Retry-After"],
        )
    app.add_middleware(Edge, max_body_bytes=settings.max_body_bytes, body_seconds=settings.body_seconds)
    for kind in problem.KINDS:
        app.add_exception_handler(kind, _answer)
    app.include_router(pages.router(clients, service.bucket))
    app.include_router(legacy.router(service.table, service.publisher, service.bucket))
    app.include_router(jobs.router(service))
    app.include_router(uploads.router(clients, service.bucket))
    app.add_api_route("/healthz", health, tags=["service"])
    openapi.describe(app)
    return app


async def _answer(_request: Request, error: Exception) -> Response:
    found = problem.explain(error)
    if found is None:
        raise error
    return found.response()


async def health() -> dict[str, str]:
    """Tell whether the process is alive; it asks nothing of AWS."""
    return {"status": "ok"}
