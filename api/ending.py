"""Jobs that end before any agent has begun them: cancelled, or too late."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from api.record import Record, Records
from api.submission import LONGEST_SECONDS
from contract import keys
from contract.result import Failure, Result


@dataclass(frozen=True)
class Ending:
    """How and when a job has ended that was never begun."""

    status: Literal["expired", "failed"]
    failure: Failure
    at: datetime


def overdue(message: dict[str, Any], now: datetime) -> Ending | None:
    """Return how a job that nobody has begun has ended by itself, or None when its time is not over.

    Nothing needs to be written for that: agents begin no such job, and say the same of it when they come upon it.

    Args:
        message: The job's message, as it was recorded.
    """
    metadata = message["metadata"]
    times = {name: datetime.fromisoformat(text) for name in _ENDINGS if (text := metadata.get(name))}
    times["created_at"] += timedelta(seconds=LONGEST_SECONDS)
    at, name = min((time, name) for name, time in times.items())
    status, failure = _ENDINGS[name]
    return Ending(status, failure, at) if at <= now else None


# By the time in a message that ends it; agents use the same words.
_ENDINGS: dict[str, tuple[Literal["expired", "failed"], Failure]] = {
    "created_at": ("expired", Failure(code="expired", message="the job waited for longer than queues keep one")),
    "expires_at": (
        "expired",
        Failure(code="expired", message="the job was not started before the time at which it expires"),
    ),
    "deadline": ("failed", Failure(code="deadline", message="the job was not done before its deadline")),
}


def cancel(records: Records, record: Record, now: datetime) -> None:
    """See to it that a job goes no further; one that has ended stays as it is, and doing so again changes nothing.

    A job that waits ends here and now: its agent finds the result when it receives the message, and only passes the
    news on. One that has started is interrupted by its agent, which looks for the mark while it runs.
    """
    if keys.RESULT in record.objects:
        return
    recorded = records.read(record.key, keys.JOB) if keys.STARTED not in record.objects else None
    if recorded and overdue(recorded["message"], now):
        return
    records.create(record.key, keys.CANCEL, {"requested_at": now.isoformat()})
    if recorded is None:
        return
    metadata = recorded["message"]["metadata"]
    result = Result(
        id=metadata["id"],
        key=record.key,
        runtime=metadata["runtime"],
        task=metadata["tasktype"],
        form=metadata["form"],
        status="cancelled",
        failure=Failure(code="cancelled", message="the job was cancelled before it started"),
        context=metadata["context"],
        created_at=recorded["created_at"],
        finished_at=now,
    )
    # If it has started or ended in this very moment, what its agent wrote first stands, or it is interrupted.
    records.create(record.key, keys.RESULT, result.model_dump(mode="json"))
