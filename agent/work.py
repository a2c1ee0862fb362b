"""A job on its way through the pipeline."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agent.errors import JobError
from agent.lease import Lease
from contract.job import Job
from contract.result import Result


@dataclass
class Work:
    """What the stages know of one message. Each field is set by one stage and read by later ones.

    Attributes:
        lease: Our right to the message.
        job: The job in it, or None if it holds none.
        request: What the adapter made of the job.
        answer: What the inference server said.
        error: Why there is no answer.
        result: The result of an earlier attempt, found stored.
        timings: Seconds by step.
    """

    lease: Lease
    job: Job | None = None
    request: Any = None
    answer: Any = None
    error: JobError | None = None
    result: Result | None = None
    started_at: datetime | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def log_keys(self) -> dict[str, Any]:
        """The keys by which log lines about this message are found."""
        keys: dict[str, Any] = {"message": self.lease.delivery.message_id, "attempt": self.lease.delivery.attempt}
        if self.job:
            keys |= {"job": self.job.id, "key": self.job.key, "runtime": self.job.runtime, "task": self.job.task}
        return keys
