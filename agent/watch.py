"""What can be seen of the work: metrics, traces and the pod's marks are made from these events, by watchers."""

from collections.abc import Sequence

import structlog
from typing_extensions import override

from agent.errors import JobError
from agent.work import Work
from contract.result import Result

log = structlog.get_logger()


class Watcher:
    """Is told what happens to each message, by the thread that does it, at the moment it has happened.

    `received` comes first for every message; exactly one of `ended` and `released` comes last, however it went, unless
    the agent itself is at its end. Between them come those that apply, in the order in which they stand here. A method
    must return at once: the GPU may be waiting.
    """

    def received(self, work: Work) -> None:
        """The message was received; what is in it is not known yet."""

    def prepared(self, work: Work) -> None:
        """The job, its inputs and its request are there; it waits for the GPU."""

    def started(self, work: Work) -> None:
        """The inference server is about to be asked."""

    def inferred(self, work: Work, error: JobError | None) -> None:
        """The inference server has answered or failed, and is free."""

    def stored(self, work: Work, result: Result) -> None:
        """The pictures and the result are in the bucket, from now or before; the notice comes next."""

    def told(self, work: Work, result: Result) -> None:
        """The notice is published; the message is deleted next."""

    def ended(self, work: Work, result: Result) -> None:
        """The message is gone, or left to the dead-letter queue; `work.result` is set if the job had ended before."""

    def released(self, work: Work, reason: JobError, given_back: bool) -> None:
        """The message is somebody else's; it was `given_back` to the queue, or was no longer ours to give."""


class Watchers(Watcher):
    """Tells every watcher, in order. What goes wrong in one is logged, and touches neither the job nor the others."""

    def __init__(self, watchers: Sequence[Watcher] = ()) -> None:
        self._watchers = watchers

    @override
    def received(self, work: Work) -> None:
        self._tell("received", work)

    @override
    def prepared(self, work: Work) -> None:
        self._tell("prepared", work)

    @override
    def started(self, work: Work) -> None:
        self._tell("started", work)

    @override
    def inferred(self, work: Work, error: JobError | None) -> None:
        self._tell("inferred", work, error)

    @override
    def stored(self, work: Work, result: Result) -> None:
        self._tell("stored", work, result)

    @override
    def told(self, work: Work, result: Result) -> None:
        self._tell("told", work, result)

    @override
    def ended(self, work: Work, result: Result) -> None:
        self._tell("ended", work, result)

    @override
    def released(self, work: Work, reason: JobError, given_back: bool) -> None:
        self._tell("released", work, reason, given_back)

    def _tell(self, event: str, *told: object) -> None:
        for watcher in self._watchers:
            try:
                getattr(watcher, event)(*told)
            except Exception as error:  # noqa: BLE001 - whoever watches must not touch the work
                name = type(watcher).__name__
                log.warning("watcher failed", watcher=name, at=event, reason=f"{type(error).__name__}: {error}")
