"""Which runtime serves a job: decided here and nowhere else, so that exactly one queue gets each job."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.job import TASKS_BY_RUNTIME_TYPE, Task

DEFAULT_TASKS = {"sdwebui": Task.TEXT_TO_IMAGE, "comfyui": Task.PIPELINE}


class Runtime(BaseModel):
    """A line of the routing table.

    Attributes:
        name: The runtime's name, in lower case.
        type: What its inference server speaks.
        model: The one checkpoint it serves, unless it is dynamic.
        dynamic: Whether it loads whatever checkpoint a job asks for.
        queue_url: Its queue, where the table says so; nothing for clients, who would learn the account from it.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    name: str
    type: Literal["sdwebui", "comfyui"]
    model: str | None = None
    dynamic: bool = False
    queue_url: str | None = Field(None, alias="queueUrl", exclude=True)

    def __str__(self) -> str:
        """Return what people are told of it."""
        if self.type == "comfyui":
            return f"{self.name} (comfyui)"
        model = "any model" if self.dynamic else f"model {self.model}" if self.model else "its own model"
        return f"{self.name} (sdwebui, {model})"


class UnroutableError(ValueError):
    """No runtime serves the job; `available` are those that there are."""

    def __init__(self, problem: str, available: Sequence[Runtime]) -> None:
        self.available = tuple(available)
        super().__init__(f"{problem}; available: {', '.join(map(str, available)) or 'none'}")


def route(
    runtimes: Sequence[Runtime], *, runtime: str | None = None, model: str | None = None, task: Task | None = None
) -> Runtime:
    """Return the one runtime that a job goes to.

    A named runtime takes it; else the static runtime of the model it asks for, else the first that loads any model;
    a job that names neither goes to the only runtime there is.

    Args:
        runtimes: The routing table.
        runtime: The runtime that the job names, in any case.
        model: The checkpoint that the job asks for.
        task: What is to be done, or None for whatever the runtime does by default.

    Raises:
        UnroutableError: No runtime can serve it.
    """
    if runtime is not None:
        named = [each for each in runtimes if each.name == runtime.lower()]
        if not named:
            raise UnroutableError(f'there is no runtime "{runtime}"', runtimes)
        chosen = named[0]
        if model is not None and not _loads(chosen, model):
            raise UnroutableError(f'runtime "{chosen.name}" does not serve the model "{model}"', runtimes)
    elif model is not None:
        able = sorted((each for each in runtimes if _loads(each, model)), key=lambda each: each.dynamic)
        if not able:
            raise UnroutableError(f'no runtime serves the model "{model}"', runtimes)
        chosen = able[0]
    elif len(runtimes) == 1:
        chosen = runtimes[0]
    else:
        raise UnroutableError("the job must name a runtime or a model", runtimes)
    if task is not None and task not in TASKS_BY_RUNTIME_TYPE[chosen.type]:
        raise UnroutableError(f'runtime "{chosen.name}" does not do "{task}"', runtimes)
    return chosen


def _loads(runtime: Runtime, model: str) -> bool:
    return runtime.type == "sdwebui" and (runtime.dynamic or runtime.model == model)
