"""Long polls: clients that wait for a job's end hold no thread and cost few looks into the bucket."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi.concurrency import run_in_threadpool

from api.record import Records
from contract import keys

# API Gateway gives up at 29 s.
LONGEST_SECONDS = 25
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 1.0
# What one process asks S3 for all who wait; beyond that each of them waits longer between two looks.
LOOKS_PER_SECOND = 100


class Waiting:
    """Those who wait for the ends of jobs."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._count = 0
        self._pauses: set[asyncio.Future[None]] = set()
        self._over = False

    def end(self) -> None:
        """Let all who wait have their answers now, since the server stops; to be called in its event loop."""
        self._over = True
        for pause in self._pauses:
            if not pause.done():
                pause.set_result(None)

    async def ended(self, key: str, seconds: float, gone: Callable[[], Awaitable[bool]]) -> bool:
        """Return True as soon as the job `key` has ended, False after so many seconds or when nobody waits any more.

        Args:
            gone: Tells whether anybody still wants to know.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        pause_s = FIRST_PAUSE_SECONDS
        self._count += 1
        try:
            while not self._over and (left_s := until - loop.time()) > 0:
                await self._pause(min(left_s, max(pause_s, self._count / LOOKS_PER_SECOND)))
                pause_s = min(pause_s * 1.5, LONGEST_PAUSE_SECONDS)
                if await gone():
                    return False
                if await run_in_threadpool(self._records.has, key, keys.RESULT):
                    return True
            return False
        finally:
            self._count -= 1

    async def _pause(self, seconds: float) -> None:
        pause = asyncio.get_running_loop().create_future()
        self._pauses.add(pause)
        try:
            await asyncio.wait([pause], timeout=seconds)
        finally:
            self._pauses.discard(pause)
