"""Errors as clients see them: RFC 9457 problem details, everything that is wrong with a request at once."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004 - its name
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.routing import UnroutableError
from contract.job import InvalidJobError

Place = tuple[str | int, ...]

RETRY_AFTER_SECONDS = 5
MEDIA_TYPE = "application/problem+json"
# `Problem` in the OpenAPI document.
SCHEMA = {
    "title": "Problem",
    "description": "What is wrong, as RFC 9457 says it.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {
                    "path": {"type": "string", "description": "For people: `input.width`, `query.limit`."},
                    "message": {"type": "string"},
                    "pointer": {
                        "type": "string",
                        "description": "A JSON pointer to what is wrong with the body: `#/input/width`.",
                    },
                },
            },
        },
    },
}

_TRANSIENT_CODES = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "InternalFailure",
        "KMSThrottling",
        "KMSThrottlingException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttled",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A request that cannot be served, and why.

    Attributes:
        status: The HTTP status.
        detail: One sentence for people.
        errors: What is wrong with which part of the request; a part is told as FastAPI does: `("body", "id")`.
        headers: Headers of the answer.
        extra: Further members of the problem document.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[tuple[Place, str]] = (),
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = _text(detail)
        self.errors = [_error(place, message) for place, message in errors]
        self.headers = dict(headers or {})
        self.extra = extra

    def response(self) -> JSONResponse:
        """Return the problem document."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = self.errors
        return JSONResponse(document | self.extra, self.status, self.headers, MEDIA_TYPE)


def unavailable(detail: str) -> Problem:
    """Return the problem of a service that will be back."""
    return Problem(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def explain(error: Exception) -> Problem | None:
    """Return what a client is told of `error`, or None when it is a fault of ours that is nobody's business."""
    found = None
    match error:
        case Problem():
            found = error
        case InvalidJobError():
            found = Problem(422, str(error), errors=[(("body",), each) for each in error.problems])
        case UnroutableError():
            runtimes = [each.model_dump(exclude_none=True) for each in error.available]
            found = Problem(422, str(error), errors=[(("body", "runtime"), str(error))], runtimes=runtimes)
        case RequestValidationError():
            found = _invalid(error.errors())
        case HTTPException():
            found = Problem(error.status_code, error.detail, headers=error.headers)
        case ClientError() if _is_transient(error):
            found = unavailable("a service that jobs depend on is busy; try again")
        case ConnectionError() | HTTPClientError():
            found = unavailable("a service that jobs depend on cannot be reached; try again")
    return found


# Everything that `explain` knows something about.
KINDS = (Problem, InvalidJobError, UnroutableError, RequestValidationError, HTTPException, ClientError, BotoCoreError)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the problems that an operation may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def _error(place: Place, message: str) -> dict[str, str]:
    in_body = place[0] == "body"
    within = [str(part) for part in place[in_body:]]
    told = {"path": _text(".".join(within)), "message": _text(message)}
    if in_body and within:
        parts = [part.replace("~", "~0").replace("/", "~1") for part in within]
        told["pointer"] = "#/" + quote(_text("/".join(parts)), safe="/~")
    return told


def _text(quoted: str) -> str:
    # JSON may hold half a character, which no answer that quotes it can.
    return quoted.encode(errors="replace").decode()


def _invalid(errors: Sequence[Any]) -> Problem:
    if errors[0]["type"] == "json_invalid":
        error = errors[0]
        return Problem(400, f"the request body is not JSON: {error['ctx']['error']} at character {error['loc'][-1]}")
    found = [(tuple(error["loc"]), error["msg"].removeprefix("Value error, ")) for error in errors]
    told = [_error(place, message) for place, message in found]
    detail = "; ".join(": ".join(filter(None, (each["path"], each["message"]))) for each in told)
    return Problem(422, detail, errors=found)


def _is_transient(error: ClientError) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error.response.get("Error", {}).get("Code") in _TRANSIENT_CODES or status >= 500 or status == 429
