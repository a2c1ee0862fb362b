"""HTTP: one request and its answer, errors as ours, and what may be repeated repeated."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from .errors import ApiError, RefusedError, UnreachableError, Violation

KEY_HEADER = "X-API-Key"
TRIES = 4
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_BUSY = frozenset({429, 500, 502, 503, 504})


class Transport:
    """Asks one API. Every request of it may be sent again: jobs have ids, and the rest changes nothing twice.

    Args:
        url: Where the API is.
        key: The API key; none is sent without one.
        timeout_seconds: How long one answer may take.
        sleep: Waits so many seconds.
    """

    def __init__(
        self, url: str, key: str | None, timeout_seconds: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._url = url.rstrip("/")
        self._sleep = sleep
        headers = {"Accept": "application/json"} | ({KEY_HEADER: key} if key else {})
        self._api = httpx.Client(headers=headers, timeout=timeout_seconds)
        # The bucket gets no key: its links are all that it wants.
        self._bucket = httpx.Client(timeout=timeout_seconds, follow_redirects=True)

    def close(self) -> None:
        """Let the connections go."""
        self._api.close()
        self._bucket.close()

    def ask(self, method: str, path: str, **asked: Any) -> httpx.Response:
        """Return the API's answer.

        Raises:
            ApiError, UnreachableError: What went wrong, after a few tries where another one may help.
        """
        whom = f"the API at {self._url}"
        answer = self._repeat(lambda: self._api.request(method, f"{self._url}{path}", **asked), whom)
        if answer.is_success:
            if not answer.headers.get("Content-Type", "").startswith("application/json"):
                raise ApiError(answer.status_code, f"what answers at {self._url} is not the job API: check the URL")
            return answer
        raise _problem(answer, self._url)

    def transfer(self, method: str, url: str, **asked: Any) -> httpx.Response:
        """Return the bucket's answer to a presigned request.

        Raises:
            ApiError, UnreachableError: What went wrong, after a few tries where another one may help.
        """
        answer = self._repeat(lambda: self._bucket.request(method, url, **asked), "the bucket")
        if answer.is_success:
            return answer
        raise ApiError(answer.status_code, f"the bucket answered {answer.status_code}; links to it expire")

    def _repeat(self, send: Callable[[], httpx.Response], whom: str) -> httpx.Response:
        pause = FIRST_PAUSE_SECONDS
        for left in reversed(range(TRIES)):
            try:
                answer = send()
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise UnreachableError(f"{whom} cannot be reached: that is no http or https URL") from error
            except httpx.HTTPError as error:
                # A refused connection is an address where nothing is: somebody is waiting to be told.
                if not left or isinstance(error, httpx.ConnectError):
                    raise UnreachableError(f"{whom} cannot be reached: {error or type(error).__name__}") from error
                wait = pause
            else:
                if answer.status_code not in _BUSY or not left:
                    return answer
                wait = _retry_after(answer, pause)
            self._sleep(min(wait, LONGEST_PAUSE_SECONDS))
            pause *= 2
        raise AssertionError("the last try returns or raises")


def _retry_after(answer: httpx.Response, otherwise: float) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else otherwise


def _problem(answer: httpx.Response, url: str) -> ApiError:
    """Return the error that an answer stands for: problem details (RFC 9457), or API Gateway's `message`."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    status = answer.status_code
    detail = str(document.get("detail") or document.get("message") or f"{url} answered {status}")
    if status in {401, 403}:
        return ApiError(status, f"the API wants a valid key: put it into DARKROOM_API_KEY ({detail})")
    violations = [
        Violation(str(each.get("path", "")), str(each.get("message", "")))
        for each in document.get("errors") or []
        if isinstance(each, dict)
    ]
    return RefusedError(status, detail, violations) if violations else ApiError(status, detail)
