"""What a request does step by step, and what is left of it when someone stops it."""

import json
from collections.abc import Callable

import pytest

from webui.tiny.generation import generate
from webui.tiny.layers import Floats
from webui.tiny.library import SHIPPED, Library
from webui.tiny.network import Network
from webui.tiny.schemas import TextRequest
from webui.tiny.state import State

REQUEST = TextRequest(prompt="a red circle", steps=4, n_iter=3, seed=5, width=64, height=64)


class Watched(State):
    """Notes each step as its batch and number, and the progress after it; `press` happens during the second one."""

    def __init__(self, press: Callable[[State], None]) -> None:
        super().__init__()
        self._press = press
        self.steps: list[tuple[int, int]] = []
        self.progress: list[float] = []

    def step(self, number: int, network: Network, latents: Floats) -> bool:
        self.steps.append((self.moment.job_no, number))
        if len(self.steps) == 2:
            self._press(self)
        goes_on = super().step(number, network, latents)
        self.progress.append(self.moment.progress)
        return goes_on


def whole(*batches: int) -> list[tuple[int, int]]:
    """All steps of these batches."""
    return [(batch, step) for batch in batches for step in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("press", "steps", "seeds"),
    [
        (lambda _: None, whole(0, 1, 2), [5, 6, 7]),
        (State.interrupt, [(0, 1), (0, 2)], [5]),
        (State.skip, [(0, 1), (0, 2), *whole(1, 2)], [5, 6, 7]),
    ],
    ids=["nothing", "interrupt", "skip"],
)
def test_a_request_stops_after_the_step_at_which_it_is_told_to(
    press: Callable[[State], None], steps: list[tuple[int, int]], seeds: list[int]
) -> None:
    state = Watched(press)
    answer = generate(REQUEST, Library(SHIPPED), state)
    assert state.steps == steps
    assert json.loads(str(answer["info"]))["all_seeds"] == seeds
    assert state.progress == pytest.approx([min(1, 0.01 + (batch + step / 4) / 3) for batch, step in steps])
    assert state.moment.progress == 0
