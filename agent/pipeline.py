"""The pipeline: threads that hand jobs on, so that the GPU never waits for AWS.

intake: receive, parse, fetch inputs -> shelf -> inference -> finish: store, notify, delete
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from agent import verdict
from agent.errors import (
    CancelledError,
    DrainedError,
    JobError,
    LeaseLostError,
    RuntimeLostError,
    TransientError,
)
from agent.finish import Finish
from agent.health import Pulse
from agent.inference import Server
from agent.intake import Intake, waited_s
from agent.lease import Keeper
from agent.outcome import index
from agent.progress import Inference, Reporter
from agent.queue import Delivery, Queue
from agent.settings import Settings
from agent.shelf import Shelf
from agent.shutdown import Shutdown
from agent.verdict import Verdicts
from agent.watch import Watcher
from agent.work import Work
from contract.result import Result

log = structlog.get_logger()

# How many jobs that left the GPU may wait to be put away, besides those that are being put away, before the GPU waits.
FINISH_BACKLOG = 1
# Receiving a job and decoding an answer can wait for so long for the next job to be on its way to the GPU.
HEAD_START_S = 0.05
# How soon a stage notices what happens elsewhere; work itself is noticed at once.
POLL_S = 1.0
RECEIVE_AGAIN_S = 5.0
# What an agent that stops gives a message that came in last.
PREPARE_S = 5.0
# Beyond what jobs and AWS may take, a silent thread counts as dead.
STALL_S = 120.0
# What a renewal may take that fails by its time-outs, behind a release or deletion that does so, too.
RENEWAL_S = 60.0


@dataclass
class Pipeline:
    """The agent at work. Everything it needs is given to it; `agent.main` does that."""

    settings: Settings
    queue: Queue
    keeper: Keeper
    intake: Intake
    server: Server
    finish: Finish
    reporter: Reporter
    shelf: Shelf
    verdicts: Verdicts
    watch: Watcher
    pulse: Pulse
    shutdown: Shutdown

    def __post_init__(self) -> None:
        # A message takes a place from before it is received until it has left the GPU, or will not get there.
        self._places = threading.Semaphore(self.settings.ready_jobs + 1)
        # The affinity of what the server did last: nobody else has it load anything.
        self._loaded: str | None = None
        # Clear while the next request is about to go out, and Python should do nothing else.
        self._asked = threading.Event()
        self._asked.set()
        self._done: queue.Queue[Work | None] = queue.Queue(FINISH_BACKLOG)
        self._died = threading.Event()

    def ready(self) -> bool:
        """Return whether messages are received."""
        return self.server.serving.is_set() and not self.shutdown.requested.is_set()

    def run(self) -> bool:
        """Work until the shutdown is requested, and drain; return False if a thread died instead."""
        released = threading.Event()
        self._start("leases", lambda: self.keeper.run(released, self._beat_leases))
        self._start("progress", self.reporter.run)
        intake = self._start_all("intake", self._take_in, max(self.settings.ready_jobs, 1))
        inference = self._start("inference", self._infer)
        finish = self._start_all("finish", self._finish, self.settings.finishers)
        self.shutdown.requested.wait()
        if not self._died.is_set():
            log.info("draining")
            self._release_shelf(DrainedError())  # now, not when the running job has ended
            # Long polls are waited for: a message that is given to one after our end would be hidden for nothing.
            polled = time.monotonic() + min(self.settings.receive_wait_seconds + PREPARE_S, self.shutdown.left_s())
            for thread in intake:
                thread.join(max(polled - time.monotonic(), 0))
            self._release_shelf(DrainedError())  # what came in meanwhile
            inference.join(self.shutdown.left_s())
            for _ in finish:
                self._hand_on(None)
            # A job may be left at any step of finishing: whoever gets its message next goes on.
            for thread in finish:
                thread.join(self.shutdown.left_s())
        self.reporter.stop()
        self.keeper.release_all()
        released.set()
        return not self._died.is_set()

    def beat(self, thread: str) -> None:
        """Note that a thread lives; none is silent for longer than its longest wait for AWS and the server."""
        self.pulse.beat(thread, self.settings.job_timeout_seconds + self.settings.finish_seconds + STALL_S)

    def _beat_leases(self) -> None:
        self.pulse.beat("leases", self.settings.visibility_timeout_seconds / 3 + RENEWAL_S)

    def _start_all(self, name: str, target: Callable[[str], None], count: int) -> list[threading.Thread]:
        return [self._start(own, partial(target, own)) for own in (f"{name}-{n}" for n in range(1, count + 1))]

    def _start(self, name: str, target: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                target()
            except Exception:
                log.critical("thread died", thread=name, exc_info=True)
                self._died.set()
                self.shutdown.request()
            finally:
                self.pulse.retire(name)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    # --- intake

    def _take_in(self, thread: str) -> None:
        while not self.shutdown.requested.is_set():
            self.beat(thread)
            if not self.server.serving.wait(POLL_S) or not self._places.acquire(timeout=POLL_S):
                continue
            self._asked.wait(HEAD_START_S)
            delivery = self._receive()
            if delivery is None or not self._prepare(self._received(delivery)):
                self._places.release()

    def _received(self, delivery: Delivery) -> Work:
        work = Work(self.keeper.hold(delivery))
        self.watch.received(work)
        return work

    def _receive(self) -> Delivery | None:
        try:
            return self.queue.receive()
        except (BotoCoreError, ClientError) as error:
            log.warning("cannot receive", reason=str(error))
            self.shutdown.requested.wait(RECEIVE_AGAIN_S)
            return None

    def _prepare(self, work: Work) -> bool:
        """Return whether the work is on its way to the GPU."""
        # One that is given back for the last time is read, to be told of; `run` takes it from the shelf.
        if self.shutdown.requested.is_set() and not self.verdicts.is_last(work):
            self._give_back(work, DrainedError())
            return False
        try:
            self.intake.read(work)
            work.error = self.verdicts.exhausted(work)
            if work.result or work.error:
                self._hand_on(work)
                return False
            if not self.server.serving.is_set():
                raise RuntimeLostError("runtime-lost", "the inference server is gone")
            assert work.job  # noqa: S101 - or `read` would have raised
            self.intake.prepare(work, work.job)
        except Exception as error:  # noqa: BLE001 - a message must not end the agent
            reason = verdict.told(error, work)
            if isinstance(reason, RuntimeLostError):
                self.server.lose(reason)
            self._settle(work, reason)
            return False
        self.watch.prepared(work)
        self.shelf.put(work)
        return True

    # --- inference

    def _infer(self) -> None:
        while not self.shutdown.requested.is_set():
            self.beat("inference")
            if not self.server.serving.is_set() and not self.server.look(self.shutdown.requested.is_set):
                self._release_shelf(RuntimeLostError("runtime-lost", "the inference server is gone"))
                self.shutdown.requested.wait(POLL_S)
            elif work := self.shelf.take(self._loaded, POLL_S):
                self._develop(work)
        self._release_shelf(DrainedError())

    def _develop(self, work: Work) -> None:
        """Have the inference server do the job, and hand it on."""
        if work.lease.lost:
            work.error = LeaseLostError()
        elif self.shutdown.requested.is_set():
            work.error = DrainedError()
        elif not (late := work.late()):
            self._run(work)
        else:
            work.error = late
        self._places.release()
        self._hand_on(work)

    def _run(self, work: Work) -> None:
        assert work.job  # noqa: S101 - only work that was prepared comes here
        began = time.monotonic()
        work.started_at = datetime.now(UTC)
        work.timings["queue"] = waited_s(work)
        listed = index(work, work.job)
        inference = Inference(work.job, work.lease.delivery.attempt, work.started_at, listed)

        def unwanted() -> JobError | None:
            if inference.cancelled.is_set():
                return CancelledError()
            return work.late() or (DrainedError() if self.shutdown.overdue() else None)

        def begun() -> None:
            self.reporter.started(inference)
            self._asked.set()

        self.watch.started(work)
        try:
            work.answer = self.server.run(work.request, unwanted, begun)
            self._loaded = work.affinity or self._loaded
        except Exception as error:  # noqa: BLE001 - a message must not end the agent
            work.error = verdict.told(error, work)
        inference.ended.set()
        work.timings["inference"] = time.monotonic() - began
        self.watch.inferred(work, work.error)
        if self.shelf:
            self._asked.clear()

    def _release_shelf(self, reason: JobError) -> None:
        for work in self.shelf.clear():
            self._places.release()
            self._settle(work, reason)

    # --- finish

    def _finish(self, thread: str) -> None:
        while True:
            self.beat(thread)
            try:
                work = self._done.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if work is None:
                return
            self._asked.wait(HEAD_START_S)
            if work.error and not self.verdicts.ends(work, work.error):
                self._give_back(work, work.error)
            else:
                self._end(work)

    def _end(self, work: Work) -> None:
        try:
            result = self.finish.finish(work)
        except (BotoCoreError, ClientError) as error:
            self._give_back(work, TransientError("aws-unavailable", f"AWS did not take the result: {error}"))
        except Exception as error:  # noqa: BLE001 - a message must not end the agent
            reason = verdict.told(error, work)
            if work.error is None and self.verdicts.ends(work, reason):
                work.error = reason
                self._end(work)
            else:
                self._give_back(work, reason)
        else:
            self._account(work, result)

    def _account(self, work: Work, result: Result) -> None:
        self.watch.ended(work, result)
        log.info(
            "job ended" if work.result is None else "job had ended before",
            status=result.status,
            code=result.failure.code if result.failure else None,
            images=len(result.images),
            seconds=result.timings,
            **work.log_keys,
        )

    # --- between the stages

    def _hand_on(self, work: Work | None) -> None:
        """Give work, or the end of it, to the finishing stage as soon as that has room."""
        while not self._died.is_set() and self.shutdown.left_s():
            try:
                self._done.put(work, timeout=POLL_S)
            except queue.Full:
                continue
            return

    def _settle(self, work: Work, reason: JobError) -> None:
        """Decide what becomes of work that went wrong."""
        work.error = reason
        if self.verdicts.ends(work, reason):
            self._hand_on(work)
        else:
            self._give_back(work, reason)

    def _give_back(self, work: Work, reason: JobError) -> None:
        delay_s = self.verdicts.delay_s(work, reason)
        if work.job and work.started_at and not work.lease.lost:
            # Before it is anybody else's, who would be overwritten.
            self.reporter.returned(work.job, work.started_at)
        given_back = self.keeper.release(work.lease, delay_s)
        self.watch.released(work, reason, given_back)
        if given_back:
            log.warning("message released", code=reason.code, delay_s=delay_s, **work.log_keys)
        else:
            log.warning("work dropped", code=reason.code, **work.log_keys)
        log.debug("why", reason=reason.message, **work.log_keys)  # may quote what the job asked for
