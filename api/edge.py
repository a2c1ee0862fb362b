"""What happens to every request: a limit to its size, one log line, and an answer even to what nobody expected."""

import asyncio
import time
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog
from botocore.exceptions import ClientError
from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api.gate import KEY_NAME
from api.problem import Problem

log = structlog.get_logger()


class Edge:
    """Middleware around the whole application. Nothing that a client sent is logged: no body, header, id or query."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, body_seconds: float) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and see what becomes of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        size = 0
        # When the whole body must be there; afterwards whoever receives waits for the client to go, however long.
        until: float | None = asyncio.get_running_loop().time() + self._body_seconds

        async def limited() -> MutableMapping[str, Any]:
            nonlocal size, until
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                late = f"the request was not there after {self._body_seconds:g} s"
                raise HTTPException(408, late, {"Connection": "close"}) from error
            if not message.get("more_body"):
                until = None
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                # FastAPI lets this one kind of error through while it reads a body.
                raise HTTPException(413, f"the request is larger than {self._max_body_bytes} bytes")
            return message

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, limited, watched)
        except Exception as error:
            log.error("request failed", **_cause(error))
            if status:
                raise
            await Problem(500, "something went wrong on our side").response()(scope, receive, watched)
        finally:
            log.info(
                "request",
                method=scope["method"],
                route=getattr(scope.get("route"), "path", None),
                status=status,
                seconds=round(time.perf_counter() - started, 4),
                **({"key": scope[KEY_NAME]} if KEY_NAME in scope else {}),
            )


def _cause(error: Exception) -> dict[str, Any]:
    """Return where and why it failed, without the error's text, which may quote the request."""
    frames = traceback.extract_tb(error.__traceback__)
    here = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-6:]]
    aws = {}
    if isinstance(error, ClientError):
        aws = {"code": error.response.get("Error", {}).get("Code"), "operation": error.operation_name}
    return {"error": type(error).__name__, "at": here, **aws}
