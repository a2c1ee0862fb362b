"""Steps, each of which looks before it does anything, and what runs them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Say = Callable[[str], None]


class StepError(Exception):
    """A step could not be done; the text says which, why, and how to mend it."""


@dataclass(frozen=True)
class Step:
    """Something that is to be so.

    Attributes:
        what: What the step does, as people are told: `make the cluster`.
        done: Whether it is so already. It changes nothing.
        do: Makes it so, and returns once it is. After an interruption at any point it can be called again.
    """

    what: str
    done: Callable[[], bool]
    do: Callable[[], None]


def plan(steps: Iterable[Step], say: Say) -> bool:
    """Tell what is done and what would be, change nothing, and return whether there is anything to do.

    What comes after the first step that is to be done cannot be looked at yet, so all of it is told.
    """
    pending = False
    for step in steps:
        pending = pending or not step.done()
        say(f"{'would' if pending else 'done: '} {step.what}")
    return pending


def run(steps: Iterable[Step], say: Say) -> None:
    """Do what is not done yet, in order.

    Raises:
        StepError: A step was done, and it still is not so.
    """
    for step in steps:
        if step.done():
            say(f"done:  {step.what}")
            continue
        say(f"now:   {step.what}")
        step.do()
        if not step.done():
            raise StepError(f"{step.what}: nothing failed, but it is not so. The same command goes on from here.")
