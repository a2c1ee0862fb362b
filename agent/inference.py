"""Inference: one request at a time on the inference server, given up when it takes too long."""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from agent.adapter import Adapter
from agent.call import Call
from agent.errors import JobError, PermanentError, RuntimeLostError

log = structlog.get_logger()

# What a request is given to be on its way before anything else is done: Python does one thing at a time.
LEAD_S = 0.01
# How often a running request is looked at for having to be given up; its end is noticed at once.
TICK_S = 0.25
# What a server may take to heed an interrupt: a sampling step on a slow machine.
INTERRUPT_S = 15.0
# When one that was not heeded is repeated.
AGAIN_S = 3.0


class Server:
    """The inference server as the pipeline sees it: serving or not, and busy with at most one request.

    Args:
        timeout_s: Longest inference.
        beat: Called while a request runs, several times a second.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        timeout_s: float,
        beat: Callable[[], None],
        interrupt_s: float = INTERRUPT_S,
    ) -> None:
        self._adapter = adapter
        self._timeout_s = timeout_s
        self._beat = beat
        self._interrupt_s = interrupt_s
        self._left_behind: Call[Any] | None = None
        self._reason = ""
        self.serving = threading.Event()

    def look(self, stopping: Callable[[], bool]) -> bool:
        """Return whether the server is there and idle, and remember it; a look is left as soon as we are `stopping`."""
        try:
            if self._left_behind and not self._left_behind.wait(0):
                raise RuntimeLostError("runtime-busy", "the server still works on a request that was given up")
            call = Call(self._adapter.ready)
            while not call.wait(TICK_S):
                if stopping():
                    return False
            call.answer()
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

    def run(
        self,
        request: Any,
        unwanted: Callable[[], JobError | None] = lambda: None,
        begun: Callable[[], None] = lambda: None,
    ) -> Any:
        """Return the server's answer to `request`.

        Args:
            unwanted: Returns why the request must be given up, if it must; asked several times a second.
            begun: Called when the request is on its way.

        Raises:
            PermanentError: With code `timeout` if it took too long, else as the adapter says.
            TransientError: As the adapter says.
            RuntimeLostError: The server is gone; `serving` is clear.
            JobError: What `unwanted` returned.
        """
        deadline = time.monotonic() + self._timeout_s
        call = Call(lambda: self._adapter.run(request))
        call.wait(LEAD_S)
        begun()
        while not call.wait(TICK_S):
            self._beat()
            reason = unwanted()
            if not reason and time.monotonic() >= deadline:
                reason = PermanentError("timeout", f"the inference took longer than {self._timeout_s:g} s")
            if reason:
                self._give_up(call, request)
                raise reason
        try:
            return call.answer()
        except RuntimeLostError as error:
            self.lose(error)
            raise

    def _give_up(self, call: Call[Any], request: Any) -> None:
        # An interrupted server answers with what it has; that is nobody's picture. One that had not begun forgets it.
        until = time.monotonic() + self._interrupt_s
        again_at = 0.0
        while not call.wait(0) and time.monotonic() < until:
            if time.monotonic() >= again_at:
                self._interrupt(request)
                again_at = time.monotonic() + AGAIN_S
            self._beat()
            call.wait(TICK_S)
        if not call.wait(0):
            self._left_behind = call
            self.lose(RuntimeLostError("runtime-busy", "the server does not end a request that was given up"))

    def _interrupt(self, request: Any) -> None:
        try:
            self._adapter.interrupt(request)
        except JobError as error:
            log.warning("inference not interrupted", reason=str(error))
