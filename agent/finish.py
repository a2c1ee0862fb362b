"""Finish: from the inference server's answer to a stored result that its client was told of."""

import time
from collections.abc import Callable

from agent import outcome
from agent.adapter import Adapter, Output
from agent.errors import JobError, PermanentError
from agent.lease import Keeper
from agent.notice import Notices
from agent.retry import insist
from agent.store import Store, json_item
from agent.watch import Watcher
from agent.work import Work
from contract.result import Result, document


class Finish:
    """Ends jobs: pictures, output document, result (written once), notice, deletion of the message.

    Pictures and document are stored side by side; for the rest each step waits for the one before. In this order an
    agent may die between any two steps, and another one goes on. Thread-safe.

    Args:
        runtime: The runtime's name, for messages that hold no job.
        patience_s: How long each job's end is offered to AWS.
        latest: Returns until when any job's end may be offered to AWS, in monotonic seconds.
    """

    def __init__(
        self,
        runtime: str,
        adapter: Adapter,
        store: Store,
        notices: Notices,
        keeper: Keeper,
        watch: Watcher,
        *,
        patience_s: float,
        latest: Callable[[], float],
    ) -> None:
        self._runtime = runtime
        self._adapter = adapter
        self._store = store
        self._notices = notices
        self._keeper = keeper
        self._watch = watch
        self._patience_s = patience_s
        self._latest = latest

    def finish(self, work: Work) -> Result:
        """Store, tell and delete; return the stored result.

        Raises:
            PermanentError, TransientError: The answer is none; nothing is stored.
            BotoCoreError, ClientError: AWS did not take it in time.
        """
        until = min(time.monotonic() + self._patience_s, self._latest())
        result = work.result or insist(lambda: self._stored(work), until=until)
        self._watch.stored(work, result)
        insist(lambda: self._notices.ended(result, webhook=bool(work.job and work.job.webhook)), until=until)
        self._watch.told(work, result)
        if work.error is None or isinstance(work.error, PermanentError):
            insist(lambda: self._keeper.delete(work.lease), until=until)
        else:
            # The last attempt: SQS moves the message to the dead-letter queue when it would be received once more.
            self._keeper.release(work.lease)
        return result

    def _stored(self, work: Work) -> Result:
        if work.job is None:
            error = work.error or JobError("invalid-job", "the message is no job")
            return self._store.put_result(outcome.malformed(work.lease.delivery, error, self._runtime))
        if work.lease.lost and (theirs := self._store.result(work.job.key)):
            return theirs  # another agent was faster: its pictures stay as they are
        began = time.monotonic()
        if work.error:
            ours = outcome.failed(work, work.job, work.error, self._store.bucket)
            items = [] if work.started_at else outcome.index(work, work.job)
        else:
            output = self._output(work)
            ours = outcome.succeeded(work, work.job, output, self._store.bucket)
            items = outcome.images(work.job, output)
        # The document has the pictures' names, which are known beforehand.
        self._store.put_all([*items, json_item(work.job.document_key, document(ours))])
        work.timings["store"] = time.monotonic() - began
        ours = ours.model_copy(update={"timings": outcome.timings(work)})
        result = self._store.put_result(ours)
        if result != ours:
            self._store.put_json(work.job.document_key, document(result))
        return result

    def _output(self, work: Work) -> Output:
        """Decode the answer, once: what it was made of is let go, for pictures are large."""
        if work.output is None:
            work.output = self._adapter.read(work.request, work.answer)
            work.request = work.answer = None
        return work.output
