"""Lets in who has an API key, and not more often than it may: what API Gateway does on AWS, with the same answers."""

import math

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.keys import Keys
from api.openapi import KEY_HEADER
from api.problem import Problem

# The service itself, which the OpenAPI document says needs no key, and the console's files.
_OPEN_PATHS = frozenset({"/healthz", "/openapi.json", "/docs"})
_OPEN_FOLDER = "/console/"
# What the log calls the key by.
KEY_NAME = "darkroom.key"


class Gate:
    """Middleware that looks at the key before anything is read of a request."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        problem = None if scope["type"] != "http" or is_open(scope) else self._problem(scope)
        if problem:
            await problem.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        given = Headers(scope=scope).get(KEY_HEADER)
        key = self._keys.find(given) if given else None
        if key is None:
            # As API Gateway, which does not tell a missing key from a wrong one.
            return Problem(403, f"Forbidden: send a valid API key in the header {KEY_HEADER}", message="Forbidden")
        scope[KEY_NAME] = key.name
        if wait_s := self._keys.wait_seconds(key):
            headers = {"Retry-After": str(math.ceil(wait_s))}
            detail = f'Too Many Requests: the key "{key.name}" may ask {key.rate:g} times a second'
            return Problem(429, detail, headers=headers, message="Too Many Requests")
        return None


def is_open(scope: Scope) -> bool:
    """Return whether a request needs no key."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if scope["method"] == "OPTIONS":
        return True  # a browser asks before it sends a key
    reads = scope["method"] in {"GET", "HEAD"}
    return reads and (path == "/" or path in _OPEN_PATHS or path.startswith(_OPEN_FOLDER))
