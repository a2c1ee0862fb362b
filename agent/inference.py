"""Inference: one request at a time on the inference server, given up when it takes too long."""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from agent.adapter import Adapter
from agent.errors import DrainedError, JobError, PermanentError, RuntimeLostError

log = structlog.get_logger()

# How often a running request is looked at for having to be given up; its end is noticed at once.
TICK_S = 0.25
# What a server may take to heed an interrupt: a sampling step on a slow machine.
INTERRUPT_S = 15.0


class Call:
    """A call in a thread of its own, which can be waited for and, if need be, left behind."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._done = threading.Event()
        self._answer: Any = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="call", daemon=True).start()

    def _run(self) -> None:
        try:
            self._answer = self._call()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the answer is wanted
            self._error = error
        self._done.set()

    def wait(self, seconds: float) -> bool:
        """Return whether the call has ended, after waiting for it for at most `seconds`."""
        return self._done.wait(seconds)

    def answer(self) -> Any:
        """Return or raise what the call returned or raised."""
        if self._error:
            raise self._error
        return self._answer


class Server:
    """The inference server as the pipeline sees it: serving or not, and busy with at most one request.

    Args:
        timeout_s: Longest inference.
        beat: Called while a request runs, several times a second.
        must_end: Returns whether a running request must be given up because the agent stops.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        timeout_s: float,
        beat: Callable[[], None],
        must_end: Callable[[], bool],
        interrupt_s: float = INTERRUPT_S,
    ) -> None:
        self._adapter = adapter
        self._timeout_s = timeout_s
        self._beat = beat
        self._must_end = must_end
        self._interrupt_s = interrupt_s
        self._left_behind: Call | None = None
        self._reason = ""
        self.serving = threading.Event()

    def look(self) -> bool:
        """Return whether the server is there and idle, and remember it."""
        try:
            if self._left_behind and not self._left_behind.wait(0):
                raise RuntimeLostError("runtime-busy", "the server still works on a request that was given up")
            self._adapter.ready()
        except JobError as error:
            self.lose(error)
            return False
        self._left_behind = None
        self._reason = ""
        self.serving.set()
        log.info("inference server ready")
        return True

    def lose(self, error: JobError) -> None:
        """Know that the server is not there: nothing is received for it until `look` finds it."""
        self.serving.clear()
        if str(error) != self._reason:
            self._reason = str(error)
            log.warning("waiting for the inference server", reason=self._reason)

    def run(self, request: Any) -> Any:
        """Return the server's answer to `request`.

        Raises:
            PermanentError: With code `timeout` if it took too long, else as the adapter says.
            TransientError: As the adapter says.
            RuntimeLostError: The server is gone; `serving` is clear.
            DrainedError: The agent stops.
        """
        deadline = time.monotonic() + self._timeout_s
        call = Call(lambda: self._adapter.run(request))
        while not call.wait(TICK_S):
            self._beat()
            if time.monotonic() >= deadline:
                self._give_up(call)
                raise PermanentError("timeout", f"the inference took longer than {self._timeout_s:g} s")
            if self._must_end():
                self._give_up(call)
                raise DrainedError
        try:
            return call.answer()
        except RuntimeLostError as error:
            self.lose(error)
            raise

    def _give_up(self, call: Call) -> None:
        # An interrupted server answers with what it has; that is nobody's picture.
        try:
            self._adapter.interrupt()
        except JobError as error:
            log.warning("inference not interrupted", reason=str(error))
        until = time.monotonic() + self._interrupt_s
        while not call.wait(TICK_S) and time.monotonic() < until:
            self._beat()
        if not call.wait(0):
            self._left_behind = call
            self.lose(RuntimeLostError("runtime-busy", "the server does not end a request that was given up"))
