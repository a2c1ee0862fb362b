"""Verdicts: what an error means for a job and its message."""

import random

import structlog

from agent.errors import DrainedError, JobError, PermanentError, PostponedError, RuntimeLostError, TransientError
from agent.retry import backoff_s
from agent.work import Work

log = structlog.get_logger()


class Verdicts:
    """Judges what went wrong.

    Args:
        max_receive_count: How many times a job is tried; 0 if that is not known. The queue may give its message out
            once more, so that its end is told if the agent of the last attempt died.
        retry_s: Longest wait before the second attempt.
    """

    def __init__(self, max_receive_count: int, retry_s: int) -> None:
        self._max_receive_count = max_receive_count
        self._retry_s = retry_s

    def is_last(self, work: Work) -> bool:
        """Return whether the job is not tried again."""
        return 0 < self._max_receive_count <= work.lease.delivery.attempt

    def exhausted(self, work: Work) -> JobError | None:
        """Return why the job is not begun again, or None if it may be.

        A job that had failed by its last attempt is told of again, for the agent of that may have died before it told,
        and its message is left to the dead letters.
        """
        ended_well = work.result is not None and work.result.status != "failed"
        if ended_well or not 0 < self._max_receive_count < work.lease.delivery.attempt:
            return None
        tried = f"the job was tried {self._max_receive_count} times"
        return TransientError("attempts-exhausted", f"{tried}, and the last agent ended without a word")

    def ends(self, work: Work, reason: JobError) -> bool:
        """Return whether `reason` ends the job; else its message goes back."""
        # What is given back for the last time is never received again. A duplicate leaves the end to the other one.
        theirs = isinstance(reason, PostponedError) and not isinstance(reason, DrainedError)
        return isinstance(reason, PermanentError) or (self.is_last(work) and not theirs)

    def delay_s(self, work: Work, reason: JobError) -> int:
        """Return for how many seconds a message that goes back stays hidden."""
        match reason:
            case DrainedError():
                return 0
            case RuntimeLostError():  # soon, for others; we receive nothing before the server is back
                return random.randint(0, self._retry_s)  # noqa: S311 - jitter
            case _:
                return backoff_s(work.lease.delivery.attempt, self._retry_s)


def told(error: Exception, work: Work) -> JobError:
    """Return what is told of an error: one that nobody foresaw is tried again and told by name only."""
    if isinstance(error, JobError):
        return error
    log.error("unforeseen error", exc_info=error, **work.log_keys)
    return TransientError("internal-error", f"the agent failed: {type(error).__name__}")
