"""Every valid job goes to exactly one runtime; every other is refused with what would work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.routing import Runtime, UnroutableError, route
from contract.job import TASKS_BY_RUNTIME_TYPE, Task

STATIC = Runtime(name="static", type="sdwebui", model="a.safetensors")
OTHER = Runtime(name="other", type="sdwebui", model="b.safetensors")
DYNAMIC = Runtime(name="dynamic", type="sdwebui", dynamic=True)
COMFY = Runtime(name="comfy", type="comfyui")
ALL = (DYNAMIC, STATIC, OTHER, COMFY)


@pytest.mark.parametrize(
    ("runtimes", "asked", "chosen"),
    [
        pytest.param(ALL, {"runtime": "other"}, OTHER, id="the named runtime"),
        pytest.param(ALL, {"runtime": "OTHER"}, OTHER, id="the named runtime, in capitals"),
        pytest.param(
            ALL, {"model": "a.safetensors"}, STATIC, id="the model's static runtime, also after a dynamic one"
        ),
        pytest.param(ALL, {"model": "c.safetensors"}, DYNAMIC, id="the dynamic runtime for every other model"),
        pytest.param(
            ALL, {"runtime": "dynamic", "model": "a.safetensors"}, DYNAMIC, id="the named one before the model's"
        ),
        pytest.param((COMFY,), {}, COMFY, id="the only one there is"),
    ],
)
def test_a_job_goes_to(runtimes: tuple[Runtime, ...], asked: dict[str, str], chosen: Runtime) -> None:
    assert route(runtimes, runtime=asked.get("runtime"), model=asked.get("model")) == chosen


@pytest.mark.parametrize(
    ("runtimes", "asked", "task", "problem"),
    [
        (ALL, {"runtime": "nobody"}, None, 'there is no runtime "nobody"'),
        ((STATIC, COMFY), {"model": "c"}, None, 'no runtime serves the model "c"'),
        (ALL, {"runtime": "static", "model": "c"}, None, 'runtime "static" does not serve the model "c"'),
        (ALL, {"runtime": "comfy", "model": "c"}, None, 'runtime "comfy" does not serve the model "c"'),
        (ALL, {"runtime": "comfy"}, Task.TEXT_TO_IMAGE, 'runtime "comfy" does not do "text-to-image"'),
        (ALL, {"model": "c"}, Task.PIPELINE, 'runtime "dynamic" does not do "pipeline"'),
        (ALL, {}, None, "the job must name a runtime or a model"),
        ((), {}, None, "the job must name a runtime or a model"),
    ],
)
def test_a_job_that_nothing_serves_is_refused_with_what_would_work(
    runtimes: tuple[Runtime, ...], asked: dict[str, str], task: Task | None, problem: str
) -> None:
    with pytest.raises(UnroutableError) as refused:
        route(runtimes, runtime=asked.get("runtime"), model=asked.get("model"), task=task)
    assert str(refused.value) == f"{problem}; available: {', '.join(map(str, runtimes)) or 'none'}"
    assert refused.value.available == runtimes


def test_people_are_told_what_each_runtime_serves() -> None:
    assert [str(each) for each in ALL] == [
        "dynamic (sdwebui, any model)",
        "static (sdwebui, model a.safetensors)",
        "other (sdwebui, model b.safetensors)",
        "comfy (comfyui)",
    ]


names = st.sampled_from(["a", "b", "c", "d"])
runtimes = st.one_of(
    st.builds(Runtime, name=names, type=st.just("sdwebui"), model=st.sampled_from(["m1", "m2", "m3"])),
    st.builds(Runtime, name=names, type=st.just("sdwebui"), dynamic=st.just(True)),
    st.builds(Runtime, name=names, type=st.just("comfyui")),
)
tables = st.lists(runtimes, unique_by=lambda each: each.name).map(tuple)


@given(
    tables,
    st.none() | names | names.map(str.upper),
    st.none() | st.sampled_from(["m1", "m2", "m3", "m4"]),
    st.none() | st.sampled_from(list(Task)),
)
def test_every_valid_job_goes_to_one_runtime_and_every_other_is_refused(
    table: tuple[Runtime, ...], runtime: str | None, model: str | None, task: Task | None
) -> None:
    """Judged against the rule in words, written down independently: who may take it, by whom it is preferred."""

    def may_take(each: Runtime) -> bool:
        return (runtime is None or each.name == runtime.lower()) and (
            model is None or (each.type == "sdwebui" and (each.dynamic or each.model == model))
        )

    candidates = [each for each in table if may_take(each)]
    static = [each for each in candidates if not each.dynamic]
    ambiguous = runtime is None and model is None and len(table) != 1
    expected = None if ambiguous or not candidates else (static or candidates)[0]
    if expected and task and task not in TASKS_BY_RUNTIME_TYPE[expected.type]:
        expected = None
    if expected:
        assert route(table, runtime=runtime, model=model, task=task) == expected
    else:
        with pytest.raises(UnroutableError) as refused:
            route(table, runtime=runtime, model=model, task=task)
        assert all(each.name in str(refused.value) for each in table)
