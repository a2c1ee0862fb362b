"""What Prometheus is told."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a tiny model's tenth of a second to a long video's hour.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """The agent's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.jobs = Counter("darkroom_agent_jobs", "Jobs that ended here.", ["task", "status"], registry=self.registry)
        self.released = Counter(
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
