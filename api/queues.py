import threading
import time
from collections.abc import Callable

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, Field

from api.aws import Clients
from api.routing import Runtime

log = structlog.get_logger()


class Depth(BaseModel):
    """How many jobs a runtime has before it, about: SQS counts no better."""

    waiting: int = Field(description="Jobs that wait.")
    taken: int = Field(description="Jobs that an agent has: one on the GPU, others made ready or being stored.")


class Queues:
    """The depths of the runtimes' queues, each asked for at most once a second. Safe to share between threads."""

    def __init__(self, clients: Clients, fresh_seconds: float = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._sqs = clients.sqs
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Depth | None]] = {}

    def depth(self, runtime: Runtime) -> Depth | None:
        """Return the depth of a runtime's queue, or None where it cannot be known: it is never worth an error."""
        url = runtime.queue_url
        if url is None:
            return None
        with self._lock:
            looked, depth = self._known.get(url, (0.0, None))
            if looked + self._fresh_seconds > self._clock():
                return depth
            # Whoever comes in the meantime is told what was known before.
            self._known[url] = (self._clock(), depth)
        depth = self._ask(url)
        with self._lock:
            self._known[url] = (self._clock(), depth)
        return depth

    def _ask(self, url: str) -> Depth | None:
        try:
            told = self._sqs.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )["Attributes"]
        except (ClientError, BotoCoreError) as error:
            log.warning("queue depth not known", error=type(error).__name__)
            return None
        return Depth(
            waiting=int(told["ApproximateNumberOfMessages"]),
            taken=int(told["ApproximateNumberOfMessagesNotVisible"]),
        )
