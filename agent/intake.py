"""Intake: from a message to a request that the inference server can be given."""

import time
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from agent.adapter import Adapter
from agent.errors import CancelledError, PermanentError, PostponedError, TransientError
from agent.inputs import Inputs
from agent.lease import Keeper
from agent.store import Store, error_code
from agent.work import Work
from contract.job import InvalidJobError, Job, decode, unsound


class Intake:
    """Makes work ready for the GPU.

    Args:
        runtime: The runtime's name.
        grace_s: How long after its deadline a job may be held to be put away.
    """

    def __init__(
        self, runtime: str, adapter: Adapter, inputs: Inputs, store: Store, keeper: Keeper, *, grace_s: float
    ) -> None:
        self._runtime = runtime
        self._adapter = adapter
        self._inputs = inputs
        self._store = store
        self._keeper = keeper
        self._grace_s = grace_s

    def read(self, work: Work) -> None:
        """Set the job in the message, and its result if it has ended before.

        Raises:
            PermanentError: There is no job in the message.
            PostponedError: This agent works on the same job already.
            TransientError: AWS did not answer.
        """
        try:
            job = decode(work.lease.delivery.body, self._runtime, work.lease.delivery.message_id)
        except InvalidJobError as error:
            raise PermanentError("invalid-job", str(error)) from error
        work.job = job
        if not self._keeper.claim(work.lease, job.key):
            raise PostponedError("duplicate", "this agent has the job already, from another delivery")
        try:
            work.result = self._store.result(job.key)
        except (BotoCoreError, ClientError) as error:
            raise _unavailable(error) from error

    def prepare(self, work: Work, job: Job) -> None:
        """Set the request for the job that was read.

        Raises:
            PermanentError, TransientError: The job cannot be done, or not now, or it is too late for it.
            CancelledError: Somebody does not want it any more.
            RuntimeLostError: The inference server is gone.
        """
        try:
            if self._store.is_cancelled(job.key):
                raise CancelledError
            self._time(work, job)
            if job.task not in self._adapter.tasks:
                raise PermanentError("unsupported-task", f"runtime {self._runtime} does not do the task {job.task}")
            began = time.monotonic()
            work.request = self._adapter.prepare(job, self._content(job), self._inputs.fetch)
            work.timings["fetch"] = time.monotonic() - began
        except (BotoCoreError, ClientError) as error:
            raise _unavailable(error) from error

    def _time(self, work: Work, job: Job) -> None:
        """Note until when the job may be started and has to be done; raise if that is over."""
        lead_s = time.monotonic() - datetime.now(UTC).timestamp()
        if job.expires_at:
            work.expires = job.expires_at.timestamp() + lead_s
        if job.deadline:
            work.deadline = job.deadline.timestamp() + lead_s
            work.lease.bound(work.deadline + self._grace_s)
        if late := work.late():
            raise late

    def _content(self, job: Job) -> dict[str, Any]:
        if job.content_ref is None:
            return job.content
        try:
            content = self._store.read_json(job.content_ref)
        except ClientError as error:
            if error_code(error) != "NoSuchKey":
                raise
            raise PermanentError("content-missing", f"there is no content at {job.content_ref}") from error
        except (ValueError, RecursionError) as error:
            raise PermanentError("invalid-job", f"the content at {job.content_ref} is not JSON") from error
        if not isinstance(content, dict):
            raise PermanentError("invalid-job", f"the content at {job.content_ref} is not an object")
        if problem := unsound(content):
            raise PermanentError("invalid-job", f"the content at {job.content_ref} {problem}")
        return content


def _unavailable(error: Exception) -> TransientError:
    return TransientError("aws-unavailable", f"AWS did not answer: {error}")


def waited_s(work: Work) -> float:
    """Return for how long the job in `work` has waited until now, in seconds; 0 if nobody noted its beginning."""
    since = (work.job.created_at if work.job else None) or work.lease.delivery.sent_at
    return max((datetime.now(UTC) - since).total_seconds(), 0) if since else 0
