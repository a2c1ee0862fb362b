import json
import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from api.aws import Clients
from contract import keys
from contract.job import Form, InvalidJobError, Job, encode

# What a queue gets is SNS's envelope with the message as a string in it: escaped once more, beside a signature and
# addresses. The two together must fit the 256 KiB that SNS takes of a message.
MAX_QUEUED_BYTES = 256 * 1024
ENVELOPE_BYTES = 2 * 1024
# SQS refuses what XML 1.0 does, and SNS would then lose the job; control characters are escaped in JSON anyway.
_UNSENDABLE = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Parcel:
    """A job made ready to travel.

    Attributes:
        job: The job as its message says it: with a reference in place of a content that is too large.
        message: The message.
        content: The content itself.
    """

    job: Job
    message: str
    content: dict[str, Any]


def pack(job: Job) -> Parcel:
    """Return `job` ready to travel.

    Raises:
        InvalidJobError: It holds what no message can carry.
    """
    message = encode(job)
    if found := _UNSENDABLE.search(message):
        raise InvalidJobError(f"the job holds the character U+{ord(found[0]):04X}, which is no text")
    if _fits(message):
        return Parcel(job, message, job.content)
    # The key of a record of the older forms depends on SNS's id of the publication, which there is none of yet.
    name = keys.record_name(job.id)
    if job.form is not Form.V1:
        name += f"~{sha256(_content(job.content)).hexdigest()[:12]}"
    light = replace(job, content={}, content_ref=keys.record(name, keys.CONTENT))
    message = encode(light)
    if not _fits(message):
        raise InvalidJobError(
            f"the context is too large: everything but the content must fit {MAX_QUEUED_BYTES - ENVELOPE_BYTES} bytes "
            "when it is escaped as JSON within JSON"
        )
    return Parcel(light, message, job.content)


class Publisher:
    """Puts jobs where the one runtime that they are for finds them."""

    def __init__(self, clients: Clients, topic_arn: str, bucket: str) -> None:
        self._clients = clients
        self._topic_arn = topic_arn
        self._bucket = bucket

    def send(self, parcel: Parcel) -> None:
        """Publish the job, and before that store its content if the message only refers to it."""
        job = parcel.job
        if job.content_ref:
            body = _content(parcel.content)
            self._clients.s3.put_object(
                Bucket=self._bucket, Key=job.content_ref, Body=body, ContentType="application/json"
            )
        self._clients.sns.publish(
            TopicArn=self._topic_arn,
            Message=parcel.message,
            # Every queue's filter is on this attribute alone: exactly one of them matches.
            MessageAttributes={"runtime": {"DataType": "String", "StringValue": job.runtime}},
        )


def _fits(message: str) -> bool:
    return len(json.dumps(message)) + ENVELOPE_BYTES <= MAX_QUEUED_BYTES


def _content(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
