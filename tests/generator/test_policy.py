"""Rules over everything that is rendered and committed."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from generator.load import load
from generator.model import Config
from tests.generator.cases import CLUSTERS, ROOT, Manifest

RENDERED = [
    (file.parent.name, path) for file in CLUSTERS for path in sorted((file.parent / "rendered").rglob("*.yaml"))
]


def keys_and_values(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from keys_and_values(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys_and_values(item)


def config_of(cluster: str) -> Config:
    return load((ROOT / "clusters" / cluster / "config.yaml").read_text(), "config.yaml").config


@pytest.fixture(params=RENDERED, ids=lambda item: f"{item[0]}-{item[1].stem}")
def manifest(request: pytest.FixtureRequest) -> tuple[str, Manifest]:
    cluster, path = request.param
    return cluster, yaml.safe_load(path.read_text())


def test_there_is_something_to_check() -> None:
    assert {cluster for cluster, _ in RENDERED} == {"local", "production"}


def test_only_kinds_that_the_generator_is_for_are_in_git(manifest: tuple[str, Manifest]) -> None:
    # Above all, no Secret.
    assert manifest[1]["kind"] in {"Application", "InferenceAPI", "InferenceRuntime", "Namespace"}


def test_nobody_but_keda_sets_replicas(manifest: tuple[str, Manifest]) -> None:
    assert "replicas" not in dict(keys_and_values(manifest[1]))


def test_production_runs_exact_image_tags(manifest: tuple[str, Manifest]) -> None:
    cluster, found = manifest
    tags = [value for key, value in keys_and_values(found) if key == "tag"]
    assert not (config_of(cluster).cluster.production and "latest" in tags)


def test_production_is_marked_as_such() -> None:
    assert config_of("production").cluster.production
