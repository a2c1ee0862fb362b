"""Deliveries: what becomes of the webhook of one job, attempt by attempt."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import structlog

from api.aws import Clients
from api.service import Service
from api.state import Delivery, Links
from api.webhooks import event
from api.webhooks.call import RefusedError, UnansweredError, post
from contract import keys

log = structlog.get_logger()

# How long to wait after each attempt: as the specification proposes, within the 12 hours that SQS can hide a message.
DELAYS_S = (5, 30, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600, 10 * 3600)
# The queue's `maxReceiveCount`: after the last attempt the notice goes to the dead-letter queue.
MAX_ATTEMPTS = len(DELAYS_S) + 1
# So that those that failed together do not come back together.
_JITTER = 0.1
_LONGEST_DELAY_S = 12 * 3600 - 60
_LOGGED = {"attempts", "http_status", "error"}


@dataclass(frozen=True)
class _Outcome:
    """What came of one call.

    Attributes:
        error: Why it was in vain; None when it was not.
        final: Whether no further call makes sense.
    """

    http_status: int | None = None
    error: str | None = None
    final: bool = False
    retry_after_s: float | None = None


class Attempt(Delivery):
    """`webhook.json` in the job's record, overwritten with each attempt.

    Attributes:
        message: The `webhook-id`.
    """

    message: str


class Deliveries:
    """Delivers webhooks. Safe to share between threads.

    Args:
        secrets: Returns what webhooks are signed with, the newest first.
        timeout_s: How long one attempt may take.
        allow_private: Whether `http`, and addresses that are not on the Internet, are allowed.
    """

    def __init__(
        self,
        clients: Clients,
        service: Service,
        secrets: Callable[[], list[str]],
        *,
        timeout_s: float = 15,
        allow_private: bool = False,
    ) -> None:
        self._s3 = clients.s3
        self._bucket = service.bucket
        self._records = service.records
        self._states = service.states
        self._secrets = secrets
        self._timeout_s = timeout_s
        self._allow_private = allow_private

    def deliver(self, key: str, attempt: int) -> float | None:
        """Tell the webhook of the job `key` how it ended.

        Args:
            attempt: The number of this attempt, from 1.

        Returns:
            In how many seconds it is to be tried again, or None when there is nothing left to do.
        """
        job = self._records.read(key, keys.JOB)
        url = ((job or {}).get("message", {}).get("metadata") or {}).get("webhook")
        record = self._records.at(key)
        if not url or record is None:
            # Records expire with the outputs.
            log.warning("webhook of a job that is not there any more", key=key)
            return None
        state = self._states.state(record, Links(self=f"/v1/jobs/{record.job_id}"))
        if state.webhook and state.webhook.status == "delivered":
            return None  # the notice came twice
        now = datetime.now(UTC)
        message = event.message_id(key, state.created_at)
        body = event.event(state).model_dump_json()
        headers = event.headers(self._secrets(), message, body, now)
        outcome = self._call(url, body, headers)
        last = outcome.final or attempt >= MAX_ATTEMPTS
        delay_s = None if last else _delay_s(attempt, outcome.retry_after_s)
        noted = Attempt(
            message=message,
            status="delivered" if outcome.error is None else "given-up" if last else "failing",
            attempts=attempt,
            attempted_at=now,
            next_attempt_at=None if delay_s is None else now + timedelta(seconds=delay_s),
            http_status=outcome.http_status,
            error=outcome.error,
        )
        self._note(key, noted)
        told_of = log.info if outcome.error is None else log.error if last else log.warning
        told_of(f"webhook {noted.status}", key=key, **noted.model_dump(include=_LOGGED))
        # Nothing more is done about a notice that is left in the queue after the last attempt: SQS moves it away.
        return 0 if last and not outcome.final else delay_s

    def _call(self, url: str, body: str, headers: dict[str, str]) -> _Outcome:
        try:
            answer = post(url, body, headers, timeout_s=self._timeout_s, allow_private=self._allow_private)
        except RefusedError as error:
            return _Outcome(error=f"it is not called: {error}", final=True)
        except UnansweredError as error:
            return _Outcome(error=str(error))
        if answer.taken:
            return _Outcome(answer.status, final=True)
        return _Outcome(
            answer.status,
            error=f"it answered {answer.status}",
            final=answer.status == HTTPStatus.GONE,
            retry_after_s=answer.retry_after_s,
        )

    def _note(self, key: str, attempt: Attempt) -> None:
        self._s3.put_object(
            Bucket=self._bucket,
            Key=keys.record(key, keys.WEBHOOK),
            Body=attempt.model_dump_json(exclude_none=True).encode(),
            ContentType="application/json",
        )


def _delay_s(attempt: int, retry_after_s: float | None) -> float:
    """Return how long to wait after the attempt with this number."""
    scheduled_s = DELAYS_S[attempt - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311 - no secret
    return min(max(scheduled_s, retry_after_s or 0), _LONGEST_DELAY_S)
