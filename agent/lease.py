"""Leases: which messages are ours, from receive to delete, and the thread that keeps them so."""

import math
import threading
import time
from collections.abc import Callable

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from agent.queue import Delivery, Queue

log = structlog.get_logger()

# SQS hides no message for longer than this after it was received.
MAX_HELD_S = 12 * 3600
# After a failed renewal the next one is tried soon: two thirds of the visibility are left to succeed in.
RETRY_S = 1.0


class Lease:
    """Our right to work on one message. Lost, it means that another agent may have the message by now."""

    def __init__(self, delivery: Delivery, visibility_s: int, clock: Callable[[], float]) -> None:
        self.delivery = delivery
        self.key = ""  # of the job in the message, once it is known
        self.noted = False  # that it was lost
        self._clock = clock
        self._received = clock()
        self._until = self._received + visibility_s
        self._latest = self._received + MAX_HELD_S

    @property
    def lost(self) -> bool:
        """Whether the message is no longer certain to be ours; once lost, always lost to us."""
        return self._clock() >= self._until

    def lose(self) -> None:
        """Know that the message is no longer ours."""
        self._until = 0.0

    def renew(self, asked_at: float, seconds: int) -> None:
        """Know that the message is ours for `seconds` from `asked_at`."""
        if not self.lost:
            self._until = asked_at + seconds

    def bound(self, latest: float) -> None:
        """Have it held until `latest`, in monotonic seconds, and no longer: by then its job is done with."""
        self._latest = min(self._latest, latest)

    def left_s(self) -> int:
        """Return for how many seconds we may hold the message at most: SQS has a limit, and so may the job."""
        return math.floor(self._latest - self._clock())


class Keeper:
    """All leases of this agent. Thread-safe; no renewal is under way while a message is released or deleted.

    Args:
        queue: Where the messages come from; its visibility timeout is the length of a lease.
        on_lost: Called for each lease that turns out to be lost.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        queue: Queue,
        on_lost: Callable[[Lease], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._on_lost = on_lost
        self._clock = clock
        self._leases: set[Lease] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._leases)

    def hold(self, delivery: Delivery) -> Lease:
        """Return the lease of a message just received; it is renewed from now on."""
        lease = Lease(delivery, self._queue.visibility_s, self._clock)
        with self._lock:
            self._leases.add(lease)
        return lease

    def claim(self, lease: Lease, key: str) -> bool:
        """Note that `lease` is for the job `key`; return False if another lease of ours is for the same job."""
        with self._lock:
            if any(other.key == key for other in self._leases):
                return False
            lease.key = key
            return True

    def release(self, lease: Lease, delay_s: int = 0) -> bool:
        """Give the message back to the queue for anyone to receive after `delay_s` seconds.

        Never fails: a message that SQS cannot be told about comes back by itself when its visibility ends.

        Returns:
            Whether SQS was told; one that was lost is no longer ours to give back.
        """
        with self._lock:
            self._leases.discard(lease)
            if lease.lost:
                return False
            try:
                self._queue.release(lease.delivery, delay_s)
            except (BotoCoreError, ClientError) as error:
                log.warning("message not released", message=lease.delivery.message_id, reason=str(error))
                return False
            return True

    def delete(self, lease: Lease) -> None:
        """Delete the message, whose job has ended. A lease that was lost is tried, too: SQS may accept it.

        Raises:
            BotoCoreError, ClientError: SQS did not; the lease is still kept.
        """
        with self._lock:
            try:
                self._queue.delete(lease.delivery)
            except ClientError:
                if not lease.lost:
                    raise
            self._leases.discard(lease)

    def release_all(self) -> None:
        """Give back whatever is still held."""
        for lease in list(self._leases):
            self.release(lease)

    def renew(self) -> bool:
        """Renew every lease; return whether that succeeded for all that are still ours."""
        with self._lock:
            asked_at = self._clock()
            lengths = {
                lease.delivery.receipt: (lease, min(self._queue.visibility_s, lease.left_s()))
                for lease in self._leases
                if not lease.lost
            }
            lost = {receipt for receipt, (_, length) in lengths.items() if length <= 0}
            kept: set[str] = set()
            try:
                kept, refused = self._queue.extend(
                    (lease.delivery, length) for receipt, (lease, length) in lengths.items() if receipt not in lost
                )
                lost |= refused
            except (BotoCoreError, ClientError) as error:
                log.warning("leases not renewed", reason=str(error))
            for receipt in kept:
                lease, length = lengths[receipt]
                lease.renew(asked_at, length)
            for receipt in lost:
                lengths[receipt][0].lose()
            # A lost lease stays here, so that nobody of us begins its job again, until its work is put away.
            fresh = [lease for lease in self._leases if lease.lost and not lease.noted]
        for lease in fresh:
            lease.noted = True
            log.warning("lease lost", message=lease.delivery.message_id, key=lease.key)
            self._on_lost(lease)
        return len(kept) + len(lost) == len(lengths)

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Renew all leases every third of their length until `stop`; `beat` comes at first, and before each renewal."""
        wait_s = interval_s = self._queue.visibility_s / 3
        beat()
        while not stop.wait(wait_s):
            beat()
            wait_s = interval_s if self.renew() else min(interval_s, RETRY_S)
