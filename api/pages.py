"""The web console: files as they are, no build step, nothing from any other origin but the bucket's pictures."""

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.routing import Mount

from api.aws import Clients

_FILES = Path(__file__).parent / "console"


class _Files(StaticFiles):
    """The console's modules: a browser asks whether it has the newest ones, since those of two versions do not fit."""

    def file_response(self, *args: Any, **named: Any) -> Response:
        response = super().file_response(*args, **named)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def router(clients: Clients, bucket: str) -> APIRouter:
    """Return the routes of the console; its pictures come from `bucket` by presigned link."""
    page = (_FILES / "index.html").read_text(encoding="utf-8")

    def console(request: Request) -> HTMLResponse:
        """Open the web console."""
        base = escape(request.scope.get("root_path", "") + "/")
        headers = {
            "Content-Security-Policy": _policy(clients, bucket),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        }
        return HTMLResponse(page.replace("{{base}}", base), headers=headers)

    routes = APIRouter(routes=[Mount("/console", _Files(directory=_FILES))])
    routes.add_api_route("/", console, tags=["service"], response_class=HTMLResponse)
    routes.add_api_route("/", console, methods=["HEAD"], include_in_schema=False)
    return routes


def _policy(clients: Clients, bucket: str) -> str:
    link = urlsplit(clients.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "-"}))
    bucket_origin = f"{link.scheme}://{link.netloc}"
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"connect-src 'self' {bucket_origin}",  # what is uploaded
            f"img-src 'self' data: {bucket_origin}",
            f"media-src {bucket_origin}",
            "base-uri 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
