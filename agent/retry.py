"""Patience with AWS for work that is done and must not be thrown away."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from botocore.exceptions import BotoCoreError, ClientError

log = structlog.get_logger()

T = TypeVar("T")

LONGEST_WAIT_S = 5.0
LONGEST_BACKOFF_S = 900


def insist(call: Callable[[], T], *, until: float) -> T:
    """Return what `call` returns, trying again whatever AWS answers, as long as time is left.

    All errors are treated alike: while S3 refuses results, for whatever reason, drawing more would only waste the GPU.

    Args:
        until: When to give up, in monotonic seconds.

    Raises:
        BotoCoreError, ClientError: The last failure.
    """
    wait_s = 0.2
    while True:
        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() + wait_s >= until:
                raise
            log.warning("AWS call failed, trying again", reason=str(error))
        time.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def backoff_s(attempt: int, first_s: int) -> int:
    """Return for how many seconds a message stays hidden after its attempt `attempt` (from 1) went wrong.

    Drawn anew each time, so that jobs which failed together do not come back together.
    """
    longest = min(first_s * 2 ** min(attempt - 1, 20), LONGEST_BACKOFF_S)
    return random.randint(longest // 2, longest)  # noqa: S311 - jitter
