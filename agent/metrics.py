"""What Prometheus is told."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from typing_extensions import override

from agent.errors import JobError
from agent.watch import Watcher
from agent.work import Work
from contract.result import Result

# From a tiny model's tenth of a second to a long video's hour.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics(Watcher):
    """The agent's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.jobs = Counter("darkroom_agent_jobs", "Jobs that ended here.", ["task", "status"], registry=self.registry)
        self.released_total = Counter(
            "darkroom_agent_released",
            "Messages given back to the queue, by the code of the reason.",
            ["code"],
            registry=self.registry,
        )
        self.leases_lost = Counter(
            "darkroom_agent_leases_lost", "Messages whose visibility could not be kept.", registry=self.registry
        )
        self.step_seconds = Histogram(
            "darkroom_agent_step_seconds",
            "Time a job spent in a step: queue, fetch, inference, store.",
            ["step"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.held = Gauge(
            "darkroom_agent_messages_held", "Messages between receive and delete.", registry=self.registry
        )
        self.busy = Gauge("darkroom_agent_busy", "1 while a job is on the GPU.", registry=self.registry)
        self.ready = Gauge("darkroom_agent_ready", "1 while jobs are received.", registry=self.registry)

    @override
    def started(self, work: Work) -> None:
        """Note that the GPU is busy."""
        self.busy.set(1)

    @override
    def inferred(self, work: Work, error: JobError | None) -> None:
        """Note that the GPU is free."""
        self.busy.set(0)

    @override
    def ended(self, work: Work, result: Result) -> None:
        """Count the job, and what its steps took here."""
        self.jobs.labels(result.task or "none", result.status).inc()
        if work.result is None:
            for step, seconds in work.timings.items():
                self.step_seconds.labels(step).observe(seconds)

    @override
    def released(self, work: Work, reason: JobError, given_back: bool) -> None:
        """Count the message, if it is back in the queue."""
        if given_back:
            self.released_total.labels(reason.code).inc()
