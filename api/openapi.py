"""The OpenAPI document of the API: what FastAPI knows of it, and what only we do.

    python -m api.openapi            # writes api/openapi.json
    python -m api.openapi --check    # fails when that is another

The same document is served as `/openapi.json`; API Gateway's is made from it.
"""

import argparse
import difflib
import json
import sys
from dataclasses import fields
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from api import examples, problem, reference
from api.aws import Clients
from api.settings import Settings
from api.webhooks.event import JobEvent

Document = dict[str, Any]

FILE = Path(__file__).with_name("openapi.json")
COMMAND = "make render"
KEY_HEADER = "X-API-Key"
_KEY = "api_key"
_METHODS = ("get", "put", "post", "delete", "head", "patch")
# What any request may be answered with, whatever it is for.
_ALWAYS = (403, 429, 500)
_TAGS = [
    {"name": "v1", "description": "Submit jobs, see how they fare, fetch what they made."},
    {
        "name": "guidance",
        "description": "The request forms of AWS's guidance, for clients that exist; errors are text.",
    },
    {"name": "service", "description": "About the service itself; needs no API key."},
]
_ABOUT = f"""\
Hand a job in with `POST /v1/jobs`, and ask `GET /v1/jobs/{{id}}` how it fares until its pictures are there.

Where API keys are asked for, each request needs one in the header `{KEY_HEADER}`. Errors are problem details
(RFC 9457): `detail` is for people, and `errors` has everything that is wrong with a request, each with its place.
"""


def name(route: APIRoute) -> str:
    """Return the id of an operation, by which generated clients call their methods."""
    return route.name


def describe(app: FastAPI) -> None:
    """Make `app` describe itself by this document."""

    def openapi() -> Document:
        if not app.openapi_schema:
            app.openapi_schema = document(app)
        return app.openapi_schema

    async def describe_api(request: Request) -> Document:
        """Get this document."""
        return openapi() | {"servers": [{"url": request.scope.get("root_path") or "/"}]}

    def job_ended(ended: JobEvent) -> None:
        """Tell of the end of a job that named a webhook.

        Signed as the Standard Webhooks specification says, in the headers `webhook-id`, `webhook-timestamp` and
        `webhook-signature`. What is not answered with 2xx is sent again, with the same `webhook-id`, for a day and a
        half; 410 ends it.
        """

    app.webhooks.add_api_route("job-ended", job_ended, methods=["POST"], tags=["v1"])

    async def docs(request: Request) -> HTMLResponse:
        """Read this document as a page."""
        base = request.scope.get("root_path", "") + "/"
        headers = {
            "Content-Security-Policy": reference.POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(reference.page(openapi(), base), headers=headers)

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_api_route("/openapi.json", describe_api, tags=["service"])
    app.add_api_route("/docs", docs, tags=["service"], response_class=HTMLResponse)


def document(app: FastAPI) -> Document:
    """Return the OpenAPI document of `app`."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=_ABOUT,
        tags=_TAGS,
        routes=app.routes,
        webhooks=app.webhooks.routes,
    )
    for webhook in made["webhooks"].values():
        # The answers of receivers, of which FastAPI thinks as of ours.
        webhook["post"]["responses"] = {
            "2XX": {"description": "Taken in."},
            "410": {"description": "Do not tell this again."},
        }
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    # FastAPI puts in how it would answer itself.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = problem.SCHEMA
    for name, example in examples.BY_SCHEMA.items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    scheme = {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": "Where the service asks for keys."}
    made["components"]["securitySchemes"] = {_KEY: scheme}
    for path in made["paths"].values():
        for method in _METHODS:
            if method in path:
                _complete(path[method])
    return made


def text(app: FastAPI) -> str:
    """Return the document as the file has it."""
    return json.dumps(document(app), indent=2, ensure_ascii=False) + "\n"


def _complete(operation: Document) -> None:
    """Add to an operation what holds for all."""
    answers = operation["responses"]
    if "service" in operation.get("tags", []):
        operation["security"] = []
    else:
        operation["security"] = [{_KEY: []}]
        answers |= {str(status): answer for status, answer in problem.responses(*_ALWAYS).items()}
    if "requestBody" in operation:
        for status in (408, 413):
            told = _told_in_text(status) if _in_text(operation) else problem.responses(status)[status]
            answers.setdefault(str(status), told)
    if _in_text(operation):
        answers.setdefault("503", _told_in_text(503))
        for content in operation["requestBody"]["content"].values():
            content["examples"] = {operation["operationId"]: {"value": examples.BY_OPERATION[operation["operationId"]]}}
    operation["responses"] = dict(sorted(answers.items()))


def _in_text(operation: Document) -> bool:
    return "guidance" in operation.get("tags", [])


def _told_in_text(status: int) -> Document:
    return {"description": HTTPStatus(status).phrase, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _undeployed() -> FastAPI:
    """Return the API without anything behind it."""
    from api.app import create_app

    settings = Settings(sns_topic_arn="", s3_output_bucket="", runtimes_bucket="")
    return create_app(settings, Clients(**dict.fromkeys((each.name for each in fields(Clients)), cast("Any", None))))


def main() -> int:
    """Write the document, or check it, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m api.openapi", description="Write api/openapi.json.")
    parser.add_argument("--check", action="store_true", help="write nothing, and exit 1 if something would change")
    check = parser.parse_args().check
    before = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    after = text(_undeployed())
    if not check:
        FILE.write_text(after, encoding="utf-8")
        return 0
    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), "api/openapi.json", "made", lineterm=""):
        print(line)  # noqa: T201
    if before != after:
        print(f"api/openapi.json is changed: run `{COMMAND}`", file=sys.stderr)  # noqa: T201
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
