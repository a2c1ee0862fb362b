"""Takes notices of ended jobs from the webhooks' queue, and says how each fared: done, or to be tried again later."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from api.webhooks.delivery import DELAYS_S, Deliveries

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

log = structlog.get_logger()

_BATCH = 10


@dataclass(frozen=True)
class Notice:
    """A message that says that a job has ended.

    Attributes:
        key: Of the job's record.
        attempt: How many times the message has been received.
    """

    receipt: str
    key: str | None
    attempt: int

    @classmethod
    def of(cls, receipt: str, body: str, attributes: dict[str, Any], received: str) -> "Notice":
        """Return the notice in a message, which SNS put into an envelope, or delivered raw.

        Args:
            attributes: The message's own attributes: those of the notice when it came raw.
            received: How many times it has been received, as SQS says it.
        """
        named = attributes.get("key", {})
        key = named.get("stringValue") or named.get("StringValue")
        try:
            envelope = json.loads(body)
            key = key or envelope["MessageAttributes"]["key"]["Value"]
        except (ValueError, TypeError, KeyError):
            pass  # told when it is to be delivered
        return cls(receipt, key if isinstance(key, str) else None, int(received))


class Worker:
    """Delivers what the queue holds."""

    def __init__(
        self,
        sqs: "SQSClient",
        queue_url: str,
        deliveries: Deliveries,
        *,
        threads: int = 32,
        wait_seconds: int = 5,
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._deliveries = deliveries
        self._threads = threads
        self._wait_seconds = wait_seconds

    def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop; what is being delivered then is finished."""
        free = threading.Semaphore(self._threads)

        def work(notice: Notice) -> None:
            try:
                if self.deliver(notice):
                    self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=notice.receipt)
            except (ClientError, BotoCoreError) as error:
                log.warning("webhook's notice not settled", key=notice.key, error=type(error).__name__)
            finally:
                free.release()

        with ThreadPoolExecutor(self._threads, "webhook") as pool:
            while not stop.is_set():
                # No message is taken that would have to wait while it counts as being delivered.
                free.acquire()
                count = 1
                while count < _BATCH and free.acquire(blocking=False):
                    count += 1
                notices = self._receive(count, stop)
                for notice in notices:
                    pool.submit(work, notice)
                for _ in range(count - len(notices)):
                    free.release()

    def batch(self, notices: list[Notice]) -> list[bool]:
        """Deliver all of them at once, and return of each whether it is done with."""
        with ThreadPoolExecutor(max(len(notices), 1)) as pool:
            return list(pool.map(self.deliver, notices))

    def deliver(self, notice: Notice) -> bool:
        """Make one attempt; return whether the message is done with. If not, the queue hides it until the next one."""
        try:
            if notice.key is None:
                raise ValueError("the message names no job")
            delay_s = self._deliveries.deliver(notice.key, notice.attempt)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next message is not to suffer, nor this be lost
            log.error("webhook not attempted", key=notice.key, error=type(error).__name__)
            delay_s = DELAYS_S[min(notice.attempt, len(DELAYS_S)) - 1]
        if delay_s is None:
            return True
        try:
            self._sqs.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=notice.receipt, VisibilityTimeout=round(delay_s)
            )
        except (ClientError, BotoCoreError) as error:
            # It comes back when the queue's own time is over.
            log.warning("webhook's notice not put off", key=notice.key, error=type(error).__name__)
        return False

    def _receive(self, count: int, stop: threading.Event) -> list[Notice]:
        try:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=count,
                WaitTimeSeconds=self._wait_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=["key"],
            )
        except (ClientError, BotoCoreError) as error:
            log.error("webhooks' queue does not answer", error=type(error).__name__)
            stop.wait(self._wait_seconds)
            return []
        return [
            Notice.of(
                message["ReceiptHandle"],
                message["Body"],
                message.get("MessageAttributes", {}),
                message["Attributes"]["ApproximateReceiveCount"],
            )
            for message in answer.get("Messages", [])
        ]
