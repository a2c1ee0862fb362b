"""HTTP with the inference server beside the agent: nothing is sent twice, and no answer is larger than allowed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from agent.errors import PermanentError, RuntimeLostError

_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it is no error."""
        return bool(self.status == requests.codes.ok)

    def json(self) -> Any:
        """Return the JSON in the body.

        Raises:
            ValueError: It is none, or nests too deep.
        """
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("nests too deep") from error


class LateError(RuntimeLostError):
    """The server is there, but has not answered in time."""


class Client:
    """The server at a base URL. Thread-safe.

    Args:
        name: What the server is called in errors.
        base: Its URL, without a slash at the end.
        max_bytes: The largest answer that is read.
    """

    def __init__(self, name: str, base: str, max_bytes: int) -> None:
        self._name = name
        self._base = base
        self._max_bytes = max_bytes

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float,
        params: Mapping[str, str] | None = None,
        files: Mapping[str, Any] | None = None,
        max_bytes: int | None = None,
    ) -> Answer:
        """Return the server's answer, whatever its status.

        Args:
            body: JSON, encoded.
            timeout_s: Longest silence of the server.
            files: Parts of a form, in the place of a body.
            max_bytes: A smaller limit for this answer.

        Raises:
            LateError: The server took the connection and did not answer in time.
            RuntimeLostError: It was not there, or went away.
            PermanentError: The answer is larger than allowed; its rest is not read.
        """
        allowed = self._max_bytes if max_bytes is None else max_bytes
        try:
            # A connection for each: one that was kept may be closed just when a POST goes out.
            with requests.Session() as session:
                session.trust_env = False  # no proxy stands before a neighbour
                response = session.request(
                    method,
                    f"{self._base}/{path}",
                    params=params,
                    data=body,
                    files=files,
                    headers={"Connection": "close"} | ({} if files else {"Content-Type": "application/json"}),
                    timeout=(_CONNECT_TIMEOUT_S, timeout_s),
                    allow_redirects=False,
                    stream=True,
                )
                with response:
                    # In one piece, where its length is known: pictures are large, and urllib3 copies what it limits.
                    bounded = _declared_bytes(response) <= allowed
                    whole = response.raw.read(None if bounded else allowed + 1, decode_content=True)
        except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise LateError("runtime-lost", f"{self._name} does not answer: ReadTimeout") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise RuntimeLostError("runtime-lost", f"{self._name} went away: {type(error).__name__}") from error
        if len(whole) > allowed:
            raise PermanentError("answer-too-large", f"{self._name} answered with more than {allowed} bytes")
        return Answer(response.status_code, whole)


def _declared_bytes(response: requests.Response) -> float:
    """Return how large the body is, infinity if that is not known before it is read."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else float("inf")
