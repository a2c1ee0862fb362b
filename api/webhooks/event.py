"""What a webhook says, and the signature by which its receiver knows that it is from us.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
from datetime import datetime
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel, Field

from api.state import JobState

PREFIX = "whsec_"


class JobEvent(BaseModel):
    """The end of a job, as its webhook is told. Receivers answer 2xx, and know a repetition by its `webhook-id`."""

    type: Literal["job.succeeded", "job.failed", "job.cancelled", "job.expired"]
    timestamp: datetime = Field(description="When the job ended.")
    data: JobState


def event(state: JobState) -> JobEvent:
    """Return the event that tells of a job that has ended.

    Raises:
        ValueError: It has not.
    """
    if state.finished_at is None:
        raise ValueError(f"the job {state.id!r} has not ended")
    return JobEvent.model_validate(
        {"type": f"job.{state.status}", "timestamp": state.finished_at, "data": state.model_dump(exclude={"webhook"})}
    )


def message_id(key: str, created_at: datetime | None) -> str:
    """Return the id of the webhook of the job `key`: the same for each attempt, and another for another job."""
    # Ids of jobs may hold dots, which part the id from what follows it in what is signed.
    return "msg_" + sha256(f"{key} {created_at}".encode()).hexdigest()[:32]


class InvalidSecretError(ValueError):
    """A signing secret that is none; the text does not quote it."""


def parse_secrets(text: str) -> list[str]:
    """Return the secrets that `text` lists, parted by spaces or lines, the newest first.

    Raises:
        InvalidSecretError: There is none, or one is not what the specification says: 24 to 64 bytes in base64, after
            `whsec_` or without it.
    """
    secrets = text.split()
    if not secrets:
        raise InvalidSecretError("there is no signing secret")
    for number, secret in enumerate(secrets, start=1):
        try:
            length = len(base64.b64decode(secret.removeprefix(PREFIX), validate=True))
        except binascii.Error:
            length = 0
        if not 24 <= length <= 64:
            raise InvalidSecretError(
                f"signing secret {number} is not 24 to 64 bytes in base64: "
                f"make one by `echo {PREFIX}$(openssl rand -base64 32)`"
            )
    return secrets


def headers(secrets: list[str], message: str, body: str, now: datetime) -> dict[str, str]:
    """Return the headers of a delivery, signed with each of the secrets: receivers may still have an older one."""
    from standardwebhooks import Webhook

    return {
        "content-type": "application/json",
        "user-agent": "darkroom-webhooks",
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message, now, body) for secret in secrets),
    }
