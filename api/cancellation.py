from datetime import datetime

from api.record import Record, Records
from contract import keys
from contract.result import Failure, Result


def cancel(records: Records, record: Record, now: datetime) -> None:
    """See to it that a job goes no further; one that has ended stays as it is, and doing so again changes nothing.

    A job that waits ends here and now: its agent finds the result when it receives the message, and only passes the
    news on. One that has started is interrupted by its agent, which looks for the mark while it runs.
    """
    if keys.RESULT in record.objects:
        return
    records.create(record.key, keys.CANCEL, {"requested_at": now.isoformat()})
    recorded = records.read(record.key, keys.JOB) if keys.STARTED not in record.objects else None
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
