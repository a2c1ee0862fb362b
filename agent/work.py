"""A job on its way through the pipeline."""

import math
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agent.adapter import Output
from agent.errors import DeadlineError, ExpiredError, JobError
from agent.lease import Lease
from agent.sender import sender
from contract.job import Job
from contract.result import Result


@dataclass
class Work:
    """What the stages know of one message. Each field is set by one stage and read by later ones.

    Attributes:
        lease: Our right to the message.
        job: The job in it, or None if it holds none.
        request: What the adapter made of the job.
        answer: What the inference server said, until that is decoded.
        output: What was in the answer.
        error: Why there is no answer.
        result: The result of an earlier attempt, found stored.
        expires: When it must have been started, and
        deadline: when it must be done, in monotonic seconds: from then on no clock that is set can move them.
        started_at: When it came to the GPU.
        timings: Seconds by step.
    """

    lease: Lease
    job: Job | None = None
    request: Any = None
    answer: Any = None
    output: Output | None = None
    error: JobError | None = None
    result: Result | None = None
    expires: float = math.inf
    deadline: float = math.inf
    started_at: datetime | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def affinity(self) -> str | None:
        """What the server needs to have loaded for it, or None for whatever it has; a name of the adapter's."""
        affinity: str | None = getattr(self.request, "affinity", None)
        return affinity

    def late(self) -> JobError | None:
        """Return why it is too late for this job by now, or None."""
        now = time.monotonic()
        if self.started_at is None and now >= self.expires:
            return ExpiredError()
        return DeadlineError() if now >= self.deadline else None

    @property
    def log_keys(self) -> dict[str, Any]:
        """The keys by which log lines about this message are found."""
        keys: dict[str, Any] = {"message": self.lease.delivery.message_id, "attempt": self.lease.delivery.attempt}
        by, _ = sender(self.lease.delivery.trace)
        if by:
            keys["trace"] = by.trace_id
        if self.job:
            keys |= {"job": self.job.id, "key": self.job.key, "runtime": self.job.runtime, "task": self.job.task}
        return keys
