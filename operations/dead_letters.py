"""Jobs that failed for good: what the dead-letter queue of a runtime holds, why, and the way back."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from contract import job as jobs
from contract import keys

# Long enough to go through a queue; whoever looks only gives them back at once.
VISIBILITY_S = 300
BATCH_SIZE = 10  # SQS's limit


@dataclass(frozen=True)
class DeadLetter:
    """A message that SQS gave out too often.

    Attributes:
        key: The job's key, or empty where the message is no job.
        status: How the job ended, or `unknown` where no result says so.
        reason: Why, as a sentence.
    """

    body: str
    receipt: str
    trace: str
    key: str
    status: str
    reason: str


class DeadLetters:
    """The dead-letter queue of one runtime; every method raises botocore's errors."""

    def __init__(self, sqs: Any, s3: Any, *, runtime: str, queue_url: str, dead_letters_url: str, bucket: str) -> None:
        self._sqs = sqs
        self._s3 = s3
        self._runtime = runtime
        self._queue_url = queue_url
        self._url = dead_letters_url
        self._bucket = bucket

    def look(self) -> list[DeadLetter]:
        """Return all, and leave them where they are."""
        found = list(self._received())
        for letter in found:
            self._sqs.change_message_visibility(QueueUrl=self._url, ReceiptHandle=letter.receipt, VisibilityTimeout=0)
        return found

    def redrive(self) -> Iterator[DeadLetter]:
        """Give each job back to its runtime; one that has succeeded meanwhile, or is no job, is only reported.

        The failed result goes first, since an agent that finds a result does not draw. Interrupted after that, the
        message is still here; interrupted after it was sent, the job is there twice, which agents tell apart.
        """
        for letter in self._received():
            if not letter.key:
                yield letter
                continue
            if letter.status != "succeeded":
                self._s3.delete_object(Bucket=self._bucket, Key=keys.record(letter.key, keys.RESULT))
                system = {"AWSTraceHeader": {"DataType": "String", "StringValue": letter.trace}} if letter.trace else {}
                self._sqs.send_message(
                    QueueUrl=self._queue_url, MessageBody=letter.body, MessageSystemAttributes=system
                )
            self._delete(letter)
            yield letter

    def purge(self) -> Iterator[DeadLetter]:
        """Delete each message; the jobs' results stay as they are."""
        for letter in self._received():
            self._delete(letter)
            yield letter

    def _delete(self, letter: DeadLetter) -> None:
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt)

    def _received(self) -> Iterator[DeadLetter]:
        while messages := self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=BATCH_SIZE,
            VisibilityTimeout=VISIBILITY_S,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["AWSTraceHeader"],
        ).get("Messages"):
            for message in messages:
                yield self._letter(message)

    def _letter(self, message: dict[str, Any]) -> DeadLetter:
        body, trace = message["Body"], message.get("Attributes", {}).get("AWSTraceHeader", "")
        try:
            key = jobs.decode(body, self._runtime, message["MessageId"]).key
        except jobs.InvalidJobError as error:
            return DeadLetter(body, message["ReceiptHandle"], trace, "", "unknown", f"this is no job: {error}")
        status, reason = self._end(key)
        return DeadLetter(body, message["ReceiptHandle"], trace, key, status, reason)

    def _end(self, key: str) -> tuple[str, str]:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=keys.record(key, keys.RESULT))
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return "unknown", "no agent lived to say why; `kubectl describe pod` tells of restarts"
        result = json.loads(answer["Body"].read())
        failure = result.get("failure") or {}
        return result["status"], f"{failure.get('code', '')}: {failure.get('message', '')}" if failure else ""
