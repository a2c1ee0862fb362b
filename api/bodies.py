"""What inference servers take: an input that its server would refuse, or choke on, is refused before it waits.

Only what is certain is checked: what a server or an extension knows besides is passed on.
"""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from contract.job import Task

# The web UI itself sets no bounds: beyond these a picture fits no GPU, and a job would only take its runtime down.
Side = Annotated[int, Field(ge=16, le=8192)]
Steps = Annotated[int, Field(ge=1, le=1000)]
Count = Annotated[int, Field(ge=1, le=100)]
# An empty one is drawn, like -1.
Seed = Annotated[
    Annotated[int, Field(ge=-1, lt=2**64)] | None, BeforeValidator(lambda value: None if value == "" else value)
]
Share = Annotated[float, Field(ge=0, le=1)]
Picture = Annotated[str, Field(min_length=1)]

Error = dict[str, Any]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Drawing(_Body):
    """What txt2img and img2img have in common; null is as good as leaving a field out."""

    prompt: str | None = None
    negative_prompt: str | None = None
    width: Side | None = None
    height: Side | None = None
    steps: Steps | None = None
    batch_size: Count | None = None
    n_iter: Count | None = None
    seed: Seed = None
    subseed: Seed = None
    cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    denoising_strength: Share | None = None
    sampler_name: str | None = None
    scheduler: str | None = None
    override_settings: dict[str, Any] | None = None
    alwayson_scripts: dict[str, Any] | None = None


class Redrawing(Drawing):
    """An img2img body. The guidance's clients put their pictures elsewhere, see `check`."""

    init_images: list[Picture] | None = None
    mask: str | None = None


class Enlarging(_Body):
    """What the two extras tasks have in common."""

    resize_mode: Annotated[int, Field(ge=0, le=1)] | None = None
    upscaling_resize: Annotated[float, Field(ge=1, le=8)] | None = None
    upscaling_resize_w: Side | None = None
    upscaling_resize_h: Side | None = None
    upscaler_1: str | None = None
    upscaler_2: str | None = None
    extras_upscaler_2_visibility: Share | None = None
    gfpgan_visibility: Share | None = None
    codeformer_visibility: Share | None = None
    codeformer_weight: Share | None = None


class EnlargingOne(Enlarging):
    """An extra-single-image body."""

    image: Picture


class Listed(_Body):
    """A picture of a batch."""

    data: Picture
    name: str | None = None


class EnlargingMany(Enlarging):
    """An extra-batch-images body."""

    imageList: Annotated[list[Listed], Field(min_length=1)]  # noqa: N815 - the web UI's name


_BODIES: dict[Task, type[_Body]] = {
    Task.TEXT_TO_IMAGE: Drawing,
    Task.IMAGE_TO_IMAGE: Redrawing,
    Task.EXTRA_SINGLE_IMAGE: EnlargingOne,
    Task.EXTRA_BATCH_IMAGES: EnlargingMany,
}


def check(task: Task, body: dict[str, Any]) -> list[Error]:
    """Return everything that is wrong with the request body of a task, in pydantic's form of errors."""
    if task is Task.PIPELINE:
        return [_error(place, problem) for place, problem in _workflow(body)]
    try:
        _BODIES[task].model_validate(body)
        errors: list[Error] = []
    except ValidationError as error:
        errors = [
            {"type": each["type"], "loc": each["loc"], "msg": each["msg"]}
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    if task is Task.IMAGE_TO_IMAGE and not body.get("init_images"):
        scripts = body.get("alwayson_scripts")
        if not (isinstance(scripts, dict) and scripts.get("image_link")):
            errors.append(_error(("init_images",), "an image to start from is missing: base64 data, or a URL"))
    return errors


def _workflow(graph: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with a ComfyUI workflow, and where."""
    if not graph:
        yield (), "the workflow has no nodes"
    if isinstance(graph.get("nodes"), list):
        yield (), "this is a workflow as ComfyUI's editor saves it: export it in the API format"
        return
    before: dict[str, set[str]] = {}
    for name, node in graph.items():
        before[name] = set()
        if not isinstance(node, dict):
            yield (name,), "a node must be an object with `class_type` and `inputs`"
            continue
        if not isinstance(node.get("class_type"), str) or not node["class_type"]:
            yield (name, "class_type"), "the name of the node's class is missing"
        inputs = node.get("inputs")
        if not isinstance(inputs, dict):
            yield (name, "inputs"), "the node's inputs are missing: an object, which may be empty"
            continue
        for field, value in inputs.items():
            if not _is_link(value):
                continue
            if value[0] in graph:
                before[name].add(value[0])
            else:
                yield (name, "inputs", field), f'there is no node "{value[0]}"'
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        yield (), f"the nodes {', '.join(error.args[1])} form a circle"


def _is_link(value: Any) -> bool:
    """Return whether an input is the output of another node, as ComfyUI decides it."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


def _error(place: tuple[str | int, ...], problem: str) -> Error:
    return {"type": "value_error", "loc": place, "msg": problem}
