"""The shelf: work that is ready for the GPU, and which of it goes next."""

import threading
import time
from collections.abc import Callable

from agent.work import Work


class Shelf:
    """Work that is ready, in the order of its arrival. Thread-safe.

    Args:
        patience_s: For how long work may be passed over by later work whose model is loaded already.
        clock: Monotonic seconds.
    """

    def __init__(self, patience_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._work: list[tuple[Work, float]] = []
        self._filled = threading.Condition()

    def __len__(self) -> int:
        return len(self._work)

    def put(self, work: Work) -> None:
        """Add work that is ready."""
        with self._filled:
            self._work.append((work, self._clock()))
            self._filled.notify()

    def take(self, loaded: str | None, wait_s: float = 0.0) -> Work | None:
        """Return the work that goes next, or None if none came within `wait_s` seconds.

        Args:
            loaded: The affinity of what the server has loaded. The first work that it suits goes next, unless the
                oldest has waited for too long.
        """
        with self._filled:
            # Looked at again after each waking: what woke us may have been cleared before we had the lock.
            if not self._filled.wait_for(lambda: self._work, wait_s):
                return None
            return self._work.pop(self._next(loaded))[0]

    def clear(self) -> list[Work]:
        """Return all work, which is no longer here."""
        with self._filled:
            work = [work for work, _ in self._work]
            self._work.clear()
            return work

    def _next(self, loaded: str | None) -> int:
        if self._clock() - self._work[0][1] < self._patience_s:
            for place, (work, _) in enumerate(self._work):
                if work.affinity in {None, loaded}:
                    return place
        return 0
