"""Calls that can be left behind: what blocks elsewhere must not block us for longer than we want to wait."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Call(Generic[T]):
    """A call in a thread of its own, which can be waited for and, if need be, left behind."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._done = threading.Event()
        self._answer: T
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

    def answer(self) -> T:
        """Return or raise what the call returned or raised."""
        if self._error:
            raise self._error
        return self._answer


def within(deadline: float, call: Callable[[], T]) -> T:
    """Return or raise what `call` does, if it does so before `deadline`, in monotonic seconds.

    Raises:
        TimeoutError: It did not; it is left behind.
    """
    running = Call(call)
    if not running.wait(max(deadline - time.monotonic(), 0)):
        raise TimeoutError
    return running.answer()
