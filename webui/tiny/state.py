"""What the server is doing right now, as seen by those who ask while it does it."""

import threading
import time
from dataclasses import dataclass, field, replace

from webui.tiny.layers import Floats
from webui.tiny.network import Network


@dataclass(frozen=True)
class Moment:
    """The state at one time. A job is one batch of pictures; a request has `job_count` of them."""

    job: str = ""
    job_count: int = 0
    job_no: int = 0
    job_timestamp: str = "0"
    sampling_step: int = 0
    sampling_steps: int = 0
    interrupted: bool = False
    skipped: bool = False
    started: float = field(default=0.0, repr=False)
    preview: tuple[Network, Floats] | None = field(default=None, repr=False)
    """The latents as they would look if sampling stopped now, and the network to decode them with."""

    @property
    def progress(self) -> float:
        """0 when idle, else from 0.01 to 1: batches that are done and the running one's steps, all of one weight."""
        if not self.job_count:
            return 0.0
        steps = self.sampling_step / self.sampling_steps if self.sampling_steps else 0.0
        return min(1.0, 0.01 + (self.job_no + steps) / self.job_count)

    @property
    def eta_seconds(self) -> float:
        """Seconds left if the rest goes as fast as what is done."""
        return (time.monotonic() - self.started) * (1 / self.progress - 1) if self.progress else 0.0


class State:
    """The current `Moment`, replaced as a whole so that no reader sees half of a change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moment = Moment()

    @property
    def moment(self) -> Moment:
        """The state now."""
        return self._moment

    def begin(self, job: str, job_count: int) -> None:
        """A request starts; an interruption of an earlier one is forgotten."""
        stamp = time.strftime("%Y%m%d%H%M%S")
        with self._lock:
            self._moment = Moment(job, job_count, job_timestamp=stamp, started=time.monotonic())

    def start_job(self, number: int, steps: int) -> None:
        """Batch `number` (from 0) of the request starts."""
        self._change(job_no=number, sampling_step=0, sampling_steps=steps, skipped=False, preview=None)

    def step(self, number: int, network: Network, latents: Floats) -> bool:
        """Step `number` (from 1) is done and gave `latents`. Says whether to go on."""
        self._change(sampling_step=number, preview=(network, latents))
        return not (self._moment.interrupted or self._moment.skipped)

    def end(self) -> None:
        """Nothing runs any more."""
        with self._lock:
            self._moment = Moment()

    def interrupt(self) -> None:
        """Ends the running request after its current step."""
        self._change(interrupted=True)

    def skip(self) -> None:
        """Ends the running batch after its current step."""
        self._change(skipped=True)

    def _change(self, **changes: object) -> None:
        with self._lock:  # an interruption must not get lost between a step's reading and writing
            self._moment = replace(self._moment, **changes)  # type: ignore[arg-type]
