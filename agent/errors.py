"""Why a job did not succeed this time, and what follows from it."""

from typing import Any, ClassVar, Literal

from contract.job import unsound

# Of a detail that cannot be stored as it is.
_LONGEST_DETAIL = 2000


class JobError(Exception):
    """A job did not succeed.

    Attributes:
        code: A short name that programs can act on; it ends up in the job's result.
        message: One sentence for people, free of secrets; it ends up in the result, and may quote the job.
        detail: What the inference server answered, if it did; it ends up in the result only.
        status: How the job ended, if this ends it.
    """

    status: ClassVar[Literal["failed", "cancelled", "expired"]] = "failed"

    def __init__(self, code: str, message: str, detail: Any = None) -> None:
        message = message.encode(errors="replace").decode()  # half a character cannot be stored
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail: Any = ascii(detail)[:_LONGEST_DETAIL] if unsound(detail) else detail


class PermanentError(JobError):
    """Another attempt would end the same way: the job fails now, and its client is told why."""


class CancelledError(PermanentError):
    """Somebody wanted the job to end."""

    status = "cancelled"

    def __init__(self) -> None:
        super().__init__("cancelled", "the job was cancelled")


class ExpiredError(PermanentError):
    """The job was not started in time."""

    status = "expired"

    def __init__(self) -> None:
        super().__init__("expired", "the job was not started before the time at which it expires")


class DeadlineError(PermanentError):
    """The job was not done in time."""

    def __init__(self) -> None:
        super().__init__("deadline", "the job was not done before its deadline")


class TransientError(JobError):
    """Another attempt may succeed: the message goes back to the queue for a while."""


class RuntimeLostError(JobError):
    """The inference server is gone: the message goes back, and none is received before the server answers again."""


class PostponedError(JobError):
    """Nothing was tried and nothing is wrong: the message goes back, and no result is written, however often."""


class DrainedError(PostponedError):
    """The agent is stopping: the message goes back at once, for another agent."""

    def __init__(self) -> None:
        super().__init__("drained", "the agent stopped before the job was done")


class LeaseLostError(PostponedError):
    """The message is no longer ours: another agent may have the job already."""

    def __init__(self) -> None:
        super().__init__("lease-lost", "the message was lost before the job was begun")
