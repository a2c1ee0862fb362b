"""The web console: three files, no build step, nothing from any other origin but the pictures."""

from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import Mount

from api.aws import Clients

_FILES = Path(__file__).parent / "console"


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

    routes = APIRouter(routes=[Mount("/console", StaticFiles(directory=_FILES))])
    routes.add_api_route("/", console, tags=["service"], response_class=HTMLResponse)
    routes.add_api_route("/", console, methods=["HEAD"], include_in_schema=False)
    return routes


def _policy(clients: Clients, bucket: str) -> str:
    link = urlsplit(clients.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "-"}))
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            f"img-src 'self' data: {link.scheme}://{link.netloc}",
            "base-uri 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
