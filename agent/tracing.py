"""Traces: each message's way through the agent, with its steps, as a part of the trace of whoever sent it.

What is traced is noted here, from the events of `watch.py`; where it goes is `xray.py`'s or `otlp.py`'s business. A
trace is handed over when its message is done with, in a thread of its own: no job waits for it, whatever goes wrong.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from typing_extensions import override

from agent.errors import JobError, PostponedError
from agent.lease import Lease
from agent.sender import Sender, sender
from agent.settings import Settings
from agent.watch import Watcher
from agent.work import Work
from contract.result import Result

log = structlog.get_logger()

SERVICE = "darkroom-agent"
# Traces that wait to be sent, beyond which they are dropped: a collector that hangs must not fill the memory.
BACKLOG = 256

# What traces are searched by.
_ANNOTATIONS = ("runtime", "job", "task", "status", "attempt")

# The step that is under way after an event.
_STEPS = {
    "received": "fetch",
    "prepared": "wait",
    "started": "inference",
    "inferred": "store",
    "stored": "notify",
    "told": "delete",
}


@dataclass(frozen=True)
class Step:
    """A part of the way; times are seconds since the epoch.

    Attributes:
        error: The code of what went wrong in it, or empty. Messages stay out: they may quote what the job asked for.
    """

    name: str
    began: float
    ended: float
    error: str = ""


@dataclass
class Trace:
    """A message's way from the queue to its end.

    Attributes:
        sender: The trace that this one belongs to, or None for one of its own.
        at: The last event.
        annotations: What traces are searched by.
    """

    sender: Sender | None
    began: float
    ended: float
    at: str = "received"
    steps: list[Step] = field(default_factory=list)
    annotations: dict[str, str | int] = field(default_factory=dict)
    error: str = ""

    def step(self, name: str, now: float, error: str = "") -> None:
        """Note that a step which began when the last one ended is over."""
        now = max(now, self.ended)  # clocks are set back at times
        self.steps.append(Step(name, self.ended, now, error))
        self.ended = now


class Exporter(Protocol):
    """Where traces go. Every method raises whatever goes wrong."""

    def send(self, trace: Trace) -> None:
        """Send a trace."""

    def close(self) -> None:
        """Let go of what it holds."""


class Tracer(Watcher):
    """Notes traces, and hands each over when it is complete.

    Args:
        connect: Returns what sends traces; called in the tracer's thread, again after a failure.
        clock: Seconds since the epoch.
    """

    def __init__(self, connect: Callable[[], Exporter], clock: Callable[[], float] = time.time) -> None:
        self._connect = connect
        self._clock = clock
        self._traces: dict[Lease, Trace] = {}
        self._complete: queue.Queue[Trace | None] = queue.Queue(BACKLOG)
        self._warned = False
        self._thread = threading.Thread(target=self._send, name="traces", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @override
    def received(self, work: Work) -> None:
        """Begin the trace at the time when SQS got the message."""
        delivery = work.lease.delivery
        by, wanted = sender(delivery.trace)
        if not wanted:
            return
        now = self._clock()
        began = min(delivery.sent_at.timestamp(), now) if delivery.sent_at else now
        trace = Trace(by, began, began)
        trace.step("queue", now)
        self._traces[work.lease] = trace

    @override
    def prepared(self, work: Work) -> None:
        """End the fetching."""
        self._pass(work, "prepared")

    @override
    def started(self, work: Work) -> None:
        """End the wait for the GPU."""
        self._pass(work, "started")

    @override
    def inferred(self, work: Work, error: JobError | None) -> None:
        """End the inference."""
        self._pass(work, "inferred", error)

    @override
    def stored(self, work: Work, result: Result) -> None:
        """End the storing, or whatever came before it and failed for good."""
        trace = self._traces.get(work.lease)
        self._pass(work, "stored", work.error if trace and trace.at != "inferred" else None)

    @override
    def told(self, work: Work, result: Result) -> None:
        """End the notice."""
        self._pass(work, "told")

    @override
    def ended(self, work: Work, result: Result) -> None:
        """Complete the trace of a job that has ended."""
        self._pass(work, "ended")
        failure = result.failure.code if result.failure and result.status == "failed" else ""
        self._complete_trace(work, result.status, failure)

    @override
    def released(self, work: Work, reason: JobError, given_back: bool) -> None:
        """Complete the trace of a message that goes back."""
        self._pass(work, "released", reason)
        self._complete_trace(work, "released", _fault(reason))

    def close(self, within_s: float) -> None:
        """Send what is complete, as far as that is done in time."""
        with suppress(queue.Full):
            self._complete.put(None, timeout=within_s)
            self._thread.join(within_s)

    def _pass(self, work: Work, event: str, error: JobError | None = None) -> None:
        if trace := self._traces.get(work.lease):
            trace.step(_STEPS[trace.at], self._clock(), _fault(error))
            trace.at = event

    def _complete_trace(self, work: Work, status: str, error: str) -> None:
        trace = self._traces.pop(work.lease, None)
        if trace is None:
            return
        trace.error = error
        keys = work.log_keys | {"status": status}
        trace.annotations = {
            name: keys[name] for name in ("runtime", "job", "task", "status", "attempt") if name in keys
        }
        try:
            self._complete.put_nowait(trace)
        except queue.Full:
            self._warn("more traces than can be sent; the newest are dropped")

    def _send(self) -> None:
        exporter: Exporter | None = None
        while (trace := self._complete.get()) is not None:
            try:
                exporter = exporter or self._connect()
                exporter.send(trace)
            except Exception as error:  # noqa: BLE001 - of whatever kind, no job may feel it
                self._warn(f"{type(error).__name__}: {error}")
                _let_go(exporter)
                exporter = None
            else:
                self._warned = False
        _let_go(exporter)

    def _warn(self, reason: str) -> None:
        """Warn once, until a trace is sent again."""
        if not self._warned:
            self._warned = True
            log.warning("trace not sent", reason=reason[:300])


def _fault(error: JobError | None) -> str:
    """Return the code of an error, or nothing if it is nobody's fault, such as that a job was cancelled."""
    if error is None or error.status != "failed" or isinstance(error, PostponedError):
        return ""
    return error.code


def _let_go(exporter: Exporter | None) -> None:
    with suppress(Exception):
        if exporter:
            exporter.close()


def tracers(settings: Settings) -> list[Tracer]:
    """Return the tracer that the settings ask for, if they do."""

    def xray() -> Exporter:
        from agent.xray import Daemon

        return Daemon(settings.aws_xray_daemon_address)

    def otlp() -> Exporter:
        from agent.otlp import Collector

        return Collector()

    match settings.tracing:
        case "xray":
            return [Tracer(xray)]
        case "otlp":
            return [Tracer(otlp)]
    return []
