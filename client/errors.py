"""What goes wrong, as errors whose texts are for people."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """Something that is wrong with a request.

    Attributes:
        path: Which part of it, such as `input.steps`; "" for all of it.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DarkroomError(Exception):
    """Anything that this client says went wrong."""


class UnreachableError(DarkroomError):
    """The API, or the bucket, did not answer."""


class ApiError(DarkroomError):
    """The API answered with an error.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class RefusedError(ApiError):
    """There is something wrong with the request; `violations` says what, all at once."""

    def __init__(self, status: int, detail: str, violations: Sequence[Violation]) -> None:
        super().__init__(status, detail)
        self.violations = tuple(violations)


class JobFailedError(DarkroomError):
    """A job ended without pictures.

    Attributes:
        job_id: Which one.
        status: `failed`, `cancelled` or `expired`.
        code: The short name of the reason, such as `runtime-error`.
    """

    def __init__(self, job_id: str, status: str, code: str, reason: str) -> None:
        super().__init__(f"job {job_id} {status}: {reason}" if reason else f"job {job_id} {status}")
        self.job_id = job_id
        self.status = status
        self.code = code
