"""When the agent has to stop."""

import threading
import time


class Shutdown:
    """When the agent has to stop. Thread-safe.

    Args:
        drain_s: What a running job is given to end.
        finish_s: What all jobs that ended are given after that, together, to be stored and told.

    Attributes:
        end: When everything must be over, in monotonic seconds.
    """

    def __init__(self, drain_s: float, finish_s: float) -> None:
        self._drain_s = drain_s
        self._finish_s = finish_s
        self._drained = self.end = float("inf")
        self.requested = threading.Event()

    def request(self) -> None:
        """Begin to stop: start nothing, and end what runs within the drain time."""
        if not self.requested.is_set():
            self._drained = time.monotonic() + self._drain_s
            self.end = self._drained + self._finish_s
            self.requested.set()

    def overdue(self) -> bool:
        """Return whether the drain time is over."""
        return time.monotonic() >= self._drained

    def left_s(self) -> float:
        """Return how many seconds are left until everything must be over."""
        return max(self.end - time.monotonic(), 0)
