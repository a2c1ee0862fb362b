"""The API as a Lambda function behind an API Gateway REST API with proxy integration."""

import os
from functools import cache
from typing import Any
from urllib.parse import unquote

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.handlers.api_gateway import APIGateway

from api import log, problem
from api.app import create_app
from api.aws import connect
from api.settings import Settings

# All that we answer: API Gateway would hand on anything else as base64.
TEXT = [*DEFAULT_TEXT_MIME_TYPES, problem.MEDIA_TYPE, "image/svg+xml"]


class RestProxy(APIGateway):
    """Tells the application what API Gateway puts before its paths: the stage, or a custom domain's base path."""

    @property
    def scope(self) -> Any:
        """The request, with what comes before the API's own paths as ASGI's `root_path`."""
        scope = super().scope
        whole: str = self.event["requestContext"].get("path", "").rstrip("/")
        path = _path(self.event)
        if not whole.endswith(path.rstrip("/")):
            return scope
        root = whole.removesuffix(path.rstrip("/"))
        # A REST API passes paths on as clients wrote them, percent-encoded; ASGI has them decoded.
        return {**scope, "path": unquote(root + path), "root_path": root}


def _path(event: Any) -> str:
    """Return the path within the API: the resource that matched, with its parameters filled in."""
    path: str = event["resource"]
    for name, value in (event.get("pathParameters") or {}).items():
        path = path.replace(f"{{{name}+}}", value).replace(f"{{{name}}}", value)
    return path


@cache
def adapter() -> Mangum:
    """Return the application behind an adapter, made once for each instance of the function."""
    log.configure()
    app = create_app(Settings(), connect())
    return Mangum(app, lifespan="off", custom_handlers=[RestProxy], text_mime_types=TEXT)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request."""
    return adapter()(event, context)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # A new instance has a whole CPU until its first request, and what share of one it pays for afterwards.
    adapter()
