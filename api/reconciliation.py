"""Reconciliation: jobs that were recorded, and not published because the process died in between, are published.

It looks into the outbox, which is empty but for requests in flight, and costs one list request when there is nothing
to do. It runs beside the server, as `python -m api reconcile`, and as a Lambda function on a schedule; several may run
at the same time, since a job that is published twice is done once.
"""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from api.desk import Desk, Fate
from api.outbox import Outbox
from api.problem import Problem

log = structlog.get_logger()


class Reconciler:
    """Does what is left to be done.

    Args:
        grace: How old a note must be: longer than any request takes, so that whoever wrote it has died or given up.
    """

    def __init__(self, outbox: Outbox, desk: Desk, grace: timedelta) -> None:
        self._outbox = outbox
        self._desk = desk
        self._grace = grace

    def run(self) -> dict[str, int]:
        """Complete every job that was left; return how many fared how.

        One that fails does not keep the others from theirs; it is tried again the next time.
        """
        fates: Counter[str] = Counter()
        for place in self._outbox.left(datetime.now(UTC) - self._grace):
            try:
                fate = self._desk.complete(place).value
                if fate == Fate.LOST.value:
                    log.warning("job given up: its runtime is gone", place=place)
            except (ClientError, BotoCoreError, Problem) as error:
                log.warning("job not reconciled", error=type(error).__name__)
                fate = "failed"
            except Exception as error:  # noqa: BLE001 - whatever is in a note, those behind it are not to suffer
                log.error("note not understood", place=place, error=type(error).__name__)
                fate = "failed"
            fates[fate] += 1
        if fates:
            log.info("reconciled", **fates)
        return dict(fates)

    def run_every(self, seconds: float, stop: threading.Event) -> None:
        """Reconcile at once and then every so many seconds, until `stop` is set."""
        while True:
            try:
                self.run()
            except (ClientError, BotoCoreError) as error:
                log.warning("not reconciled", error=type(error).__name__)
            if stop.wait(seconds):
                return


def handler(_event: dict[str, Any], _context: Any) -> dict[str, int]:
    """Reconcile once, as a Lambda function on a schedule."""
    from api import log as logs
    from api.aws import connect
    from api.service import assemble
    from api.settings import Settings

    logs.configure()
    return assemble(Settings(), connect()).reconciler.run()
