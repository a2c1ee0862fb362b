"""Progress: tells that a job has started and how far it is, and hears that it is to end, without holding it up."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from agent.adapter import Adapter
from agent.notice import Notices
from agent.store import Item, Store, json_item
from contract import keys
from contract.job import Job

log = structlog.get_logger()

INTERVAL_S = 1.0


@dataclass(frozen=True)
class Inference:
    """A job on the GPU.

    Attributes:
        listed: What lists the job, where that is our task.
        ended: Set when it has left the GPU.
        cancelled: Set when somebody wants it to leave.
    """

    job: Job
    attempt: int
    started_at: datetime
    listed: Sequence[Item] = ()
    ended: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)


class Reporter:
    """Writes `started.json` and `progress.json`, sends the notice that a job runs, and looks whether it is cancelled.

    All that is done in a thread of its own.

    Args:
        notices: Where starts are told, or None for nowhere.
        interval_s: Shortest time between two reports.
    """

    def __init__(
        self, adapter: Adapter, store: Store, notices: Notices | None = None, interval_s: float = INTERVAL_S
    ) -> None:
        self._adapter = adapter
        self._store = store
        self._notices = notices
        self._interval_s = interval_s
        self._started: queue.SimpleQueue[Inference | None] = queue.SimpleQueue()

    def started(self, inference: Inference) -> None:
        """Have it reported until it has ended. Returns at once."""
        self._started.put(inference)

    def returned(self, job: Job, started_at: datetime) -> None:
        """Record that a job that had started waits again; whoever takes it next overwrites that."""
        document = _begun(job, started_at) | {"returned_at": datetime.now(UTC).isoformat()}
        try:
            self._store.put_json(keys.record(job.key, keys.STARTED), document)
        except Exception as error:  # noqa: BLE001 - the job goes back all the same
            log.debug("return not recorded", key=job.key, reason=type(error).__name__)

    def stop(self) -> None:
        """End `run` when what has started is reported."""
        self._started.put(None)

    def run(self) -> None:
        """Report, until `stop`."""
        while inference := self._started.get():
            self._try(self._begin, inference)
            while not inference.ended.wait(self._interval_s):
                self._try(self._look, inference)
                self._try(self._report, inference)

    def _begin(self, inference: Inference) -> None:
        if self._notices and not inference.ended.is_set():  # else it could arrive after the notice of the end
            self._notices.running(inference.job)
        job = inference.job
        document = _begun(job, inference.started_at) | {"attempt": inference.attempt}
        self._store.put_all([*inference.listed, json_item(keys.record(job.key, keys.STARTED), document)])

    def _look(self, inference: Inference) -> None:
        if not inference.cancelled.is_set() and self._store.is_cancelled(inference.job.key):
            inference.cancelled.set()

    def _report(self, inference: Inference) -> None:
        progress = self._adapter.progress()
        if progress and not inference.ended.is_set():  # else it could be of the job after this one
            document = progress | {"updated_at": datetime.now(UTC).isoformat()}
            self._store.put_json(keys.record(inference.job.key, keys.PROGRESS), document)

    def _try(self, report: Callable[[Inference], None], inference: Inference) -> None:
        try:
            report(inference)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here must not touch the job
            log.debug("progress not reported", key=inference.job.key, reason=type(error).__name__)


def _begun(job: Job, started_at: datetime) -> dict[str, Any]:
    # Of a job that was not accepted through `/v1` nothing else is recorded before its end.
    return {"started_at": started_at.isoformat(), "runtime": job.runtime, "task": job.task}
