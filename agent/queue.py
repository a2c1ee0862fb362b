"""The runtime's SQS queue."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

BATCH_SIZE = 10  # SQS's limit


@dataclass(frozen=True)
class Delivery:
    """A message as it was received this time.

    Attributes:
        receipt: What SQS wants to see to keep, release or delete the message.
        attempt: How many times the message has been received, this time included.
        sent_at: When SQS accepted the message.
        trace: The `AWSTraceHeader` of whoever sent it, or empty.
    """

    message_id: str
    body: str
    receipt: str
    attempt: int = 1
    sent_at: datetime | None = None
    trace: str = ""


class Queue:
    """The queue; every method raises botocore's errors.

    Args:
        poll: The client for long polls.
        control: The client for everything that must be answered soon.
        visibility_s: How long a received message is hidden from others.
        wait_s: Length of a long poll.
    """

    def __init__(
        self, poll: "SQSClient", control: "SQSClient", url: str, *, visibility_s: int = 60, wait_s: int = 10
    ) -> None:
        self._poll = poll
        self._control = control
        self._url = url
        self.visibility_s = visibility_s
        self._wait_s = wait_s

    def receive(self) -> Delivery | None:
        """Return a message, or None when the long poll ended without one."""
        answer = self._poll.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=1,
            WaitTimeSeconds=self._wait_s,
            VisibilityTimeout=self.visibility_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp", "AWSTraceHeader"],
        )
        for message in answer.get("Messages", []):
            attributes = message.get("Attributes", {})
            sent_ms = attributes.get("SentTimestamp")
            return Delivery(
                message_id=message["MessageId"],
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                attempt=int(attributes.get("ApproximateReceiveCount", 1)),
                sent_at=datetime.fromtimestamp(int(sent_ms) / 1000, UTC) if sent_ms else None,
                trace=attributes.get("AWSTraceHeader", ""),
            )
        return None

    def extend(self, deliveries: Iterable[tuple[Delivery, int]]) -> tuple[set[str], set[str]]:
        """Hide messages for so many seconds from now.

        Returns:
            The receipts of those that are kept, and of those that are no longer ours; a receipt in neither was not
            decided and may be tried again.
        """
        entries = list(deliveries)
        kept: set[str] = set()
        lost: set[str] = set()
        for start in range(0, len(entries), BATCH_SIZE):
            batch = entries[start : start + BATCH_SIZE]
            answer = self._control.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": delivery.receipt, "VisibilityTimeout": seconds}
                    for number, (delivery, seconds) in enumerate(batch)
                ],
            )
            kept |= {batch[int(done["Id"])][0].receipt for done in answer.get("Successful", [])}
            lost |= {batch[int(it["Id"])][0].receipt for it in answer.get("Failed", []) if it["SenderFault"]}
        return kept, lost

    def release(self, delivery: Delivery, delay_s: int) -> None:
        """Give a message back: it can be received again after `delay_s` seconds."""
        self._control.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=delivery.receipt, VisibilityTimeout=delay_s
        )

    def delete(self, delivery: Delivery) -> None:
        """Delete a message: its job has ended."""
        self._control.delete_message(QueueUrl=self._url, ReceiptHandle=delivery.receipt)
