from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from generator.build import build
from generator.load import ConfigError, load
from tests.generator.cases import CLUSTER, CLUSTERS, EXAMPLES, FIXTURES, INVALID, VALID, announced


def messages(text: str) -> list[str]:
    """Return what is wrong with a config.yaml, each without the name of the file and its further lines."""
    with pytest.raises(ConfigError) as caught:
        load(text, "config.yaml")
    return [message.splitlines()[0].removeprefix("config.yaml:") for message in caught.value.messages]


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_is_accepted(file: Path) -> None:
    warnings = load(file.read_text(), "config.yaml").warnings
    assert [warning.removeprefix("config.yaml:") for warning in warnings] == announced(file, "warning")


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_is_refused_with_everything_that_is_wrong(file: Path) -> None:
    assert messages(file.read_text()) == announced(file, "error")


def test_every_invalid_fixture_announces_why() -> None:
    assert [file.stem for file in INVALID if not announced(file, "error")] == []


@pytest.mark.parametrize("file", [*EXAMPLES, *CLUSTERS], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_example_is_accepted_and_leaves_nothing_to_say(file: Path) -> None:
    assert load(file.read_text(), "config.yaml").warnings == []


def test_the_guidances_four_examples_are_there() -> None:
    assert {file.stem for file in EXAMPLES} >= {
        "custom-image",
        "dynamic-runtime",
        "ebs-snapshot",
        "multiple-runtimes",
    }


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_file_of_the_guidance_lacks_one_thing_and_is_told_what_to_paste(file: Path) -> None:
    text = file.read_text().partition("\ncluster:\n")[0]
    with pytest.raises(ConfigError) as caught:
        load(text, "config.yaml")
    [message] = caught.value.messages
    block = message.partition("\n")[2]
    assert load(f"{text}\n{block}", "config.yaml").warnings == []


def test_more_runtimes_than_a_topic_has_filter_policies_is_said_and_not_refused() -> None:
    def config(count: int) -> str:
        runtimes = (f"- {{name: r{index}, modelFilename: m{index}.safetensors}}" for index in range(count))
        return "\n".join(["modelsRuntime:", *runtimes]) + CLUSTER

    assert load(config(200), "config.yaml").warnings == []
    [warning] = load(config(201), "config.yaml").warnings
    assert "201 runtimes" in warning
    assert "quota 'Filter policies per topic'" in warning


def test_a_runtime_that_is_wrong_in_its_values_is_still_compared_with_others() -> None:
    text = """
modelsRuntime:
- {name: one, modelFilename: a.safetensors, extraValues: {nonsense: 1}}
- {name: one, modelFilename: a.safetensors}
"""
    assert [message.split(": ")[1] for message in messages(text + CLUSTER)] == [
        "modelsRuntime[0].extraValues.nonsense",
        "modelsRuntime[1].name",
        "modelsRuntime[1].modelFilename",
    ]


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the location of everything in a parsed file."""
    for step in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*place, step)
        yield from places(value[step], (*place, step))


FULL = yaml.safe_load((FIXTURES / "valid" / "head-file-with-every-value.yaml").read_text())


VARIABLES = ("modelsRuntime", 0, "extraValues", "runtime", "queueAgent", "extraEnv")


@settings(deadline=None, max_examples=50)
@example(place=VARIABLES, nonsense=[{}])
@given(
    place=st.sampled_from(list(places(FULL))),
    nonsense=st.sampled_from([None, [], {}, "", "x", 0, -1, True, 1.5, {"a": 1}, {1: 2}, [None], [[]], [{}]]),
)
def test_nonsense_anywhere_is_accepted_or_explained(place: tuple[Any, ...], nonsense: Any) -> None:
    config = yaml.safe_load(yaml.safe_dump(FULL))
    *way, last = place
    reduce(getitem, way, config)[last] = nonsense
    try:
        build(load(yaml.safe_dump(config), "config.yaml").config, "clusters/test", "config.yaml")
    except ConfigError as error:
        assert all(message.startswith("config.yaml:") for message in error.messages)  # noqa: PT017


def test_true_is_not_a_number() -> None:
    text = "modelsRuntime: []\nclusterComponents: {desiredCount: true}\n"
    assert messages(text + CLUSTER) == ["2: clusterComponents.desiredCount: should be a whole number, not true"]


def test_yaml_that_contains_itself_is_refused() -> None:
    [message] = messages("modelsRuntime: &a [*a]\n")
    assert "is not YAML" in message
