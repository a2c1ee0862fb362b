"""Adapters: how the pipeline talks to an inference server, whichever it is."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from contract.job import Job, Task

# Returns what is at each URL.
Fetch = Callable[[Collection[str]], dict[str, bytes]]

# A larger preview is not told: progress is written every second.
MAX_PREVIEW_BYTES = 2**20


@dataclass(frozen=True)
class Output:
    """What a job made.

    Attributes:
        images: The pictures, in order.
        extras: Further pictures, such as ControlNet's maps.
        seeds: The seed of each picture, where the server told.
        parameters: The server's parameters for the pictures, without image data.
    """

    images: list[bytes]
    extras: list[bytes] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)


class Adapter(Protocol):
    """One inference server.

    A job is done in three steps, each called by another thread while the others do the same for other jobs: `prepare`
    may take its time, and runs for several jobs at once; `run` holds the GPU; `read` decodes. What they hand on is
    their own business; a request may have an attribute `affinity`, the name of what the server must have loaded for it:
    the pipeline puts such together.

    Every method but `read` raises `RuntimeLostError` when the server cannot be reached.
    """

    tasks: frozenset[Task]

    def ready(self) -> None:
        """Return if the server can take a job now.

        Raises:
            RuntimeLostError: It cannot, with the reason.
        """

    def prepare(self, job: Job, content: dict[str, Any], fetch: Fetch) -> Any:
        """Return the request for a job.

        Args:
            job: The job; its own `content` may be empty.
            content: What it asks the server for.
            fetch: Called once, with all inputs' URLs.

        Raises:
            PermanentError: The server cannot do this job.
        """

    def run(self, request: Any) -> Any:
        """Have the request done, once, and return the server's answer.

        Raises:
            PermanentError, TransientError: The server refused or failed.
        """

    def read(self, request: Any, answer: Any) -> Output:
        """Return what is in an answer.

        Raises:
            PermanentError, TransientError: It is not the answer to the request.
        """

    def interrupt(self, request: Any) -> None:
        """Have `request` end early, if it is what runs: an interrupt that comes late never hits another one.

        May be called from any thread, and again.
        """

    def progress(self) -> dict[str, Any] | None:
        """Return how far the running request is, or None if the server cannot tell.

        The keys are `progress` (0 to 1), `step`, `steps`, `eta_s` and `preview` (a `data:` URL, or None, also for a
        picture of more than `MAX_PREVIEW_BYTES`).
        """
