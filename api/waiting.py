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

    async def ended(self, key: str, seconds: float, gone: Callable[[], Awaitable[bool]]) -> bool:
        """Return True as soon as the job `key` has ended, and False after so many seconds or when its client has gone.

        Args:
            gone: Tells whether anybody still wants to know.
        """
        until = asyncio.get_running_loop().time() + seconds
        pause = FIRST_PAUSE_SECONDS
        self._count += 1
        try:
            while (left := until - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(min(left, max(pause, self._count / LOOKS_PER_SECOND)))
                pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
                if await gone():
                    return False
                if await run_in_threadpool(self._records.has, key, keys.RESULT):
                    return True
            return False
        finally:
            self._count -= 1
