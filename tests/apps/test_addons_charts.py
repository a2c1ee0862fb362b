"""The charts that are in a Go module, rendered by the real Helm with our values."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from generator import addons
from generator.addons import ADD_ONS, AddOn
from generator.load import load
from tools import modules, schema

ROOT = Path(__file__).parents[2]
CONFIG = load((ROOT / "clusters" / "production" / "config.yaml").read_text(), "config.yaml").config
CHARTS = {
    "crossplane": ("github.com/crossplane/crossplane/v2", "cluster/charts/crossplane"),
    "karpenter": ("github.com/aws/karpenter-provider-aws", "charts/karpenter"),
}

Manifest = dict[str, Any]


def add_on(name: str) -> AddOn:
    return next(found for found in ADD_ONS if found.name == name)


def own_values(name: str) -> Manifest:
    values: Manifest = yaml.safe_load((ROOT / addons.values_file(add_on(name))).read_text())
    return values


@pytest.mark.parametrize("name", CHARTS)
def test_the_chart_that_is_installed_is_of_the_version_that_is_tested(name: str) -> None:
    chart = add_on(name).chart
    assert chart
    assert f"v{chart.version}" == modules.versions()[CHARTS[name][0]]


@pytest.mark.parametrize("name", CHARTS)
def test_every_value_is_one_that_the_chart_knows(name: str, go_module: Callable[[str], Path]) -> None:
    module, folder = CHARTS[name]
    known = yaml.safe_load((go_module(module) / folder / "values.yaml").read_text())
    for values in (own_values(name), add_on(name).facts(CONFIG)):
        assert list(unknown(values, known)) == []
    assert list(unknown({"replica": 2}, known)) == ["replica"]


def unknown(values: Manifest, known: Manifest) -> Iterator[str]:
    """Yield the keys of `values` that `known` has not; below an empty mapping a chart takes any."""
    for key, value in values.items():
        if key not in known:
            yield key
        elif isinstance(value, dict) and known[key]:
            yield from (f"{key}.{inner}" for inner in unknown(value, known[key]))


@pytest.mark.parametrize("name", CHARTS)
def test_what_the_chart_makes_of_our_values_is_what_kubernetes_takes(
    name: str, go_module: Callable[[str], Path], tool: Callable[[str], Path], tmp_path: Path
) -> None:
    module, folder = CHARTS[name]
    facts = tmp_path / "facts.yaml"
    facts.write_text(yaml.safe_dump(add_on(name).facts(CONFIG)))
    command = [tool("helm"), "template", name, go_module(module) / folder, "--namespace", add_on(name).namespace]
    command += ["--values", ROOT / addons.values_file(add_on(name)), "--values", facts]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]
    for manifest in made:
        jsonschema.validate(without_nothing(manifest), schema.schema(manifest["apiVersion"], manifest["kind"]))
    pods = [manifest["spec"]["template"]["spec"] for manifest in made if manifest["kind"] == "Deployment"]
    assert pods
    for pod in pods:
        assert pod["priorityClassName"] == "system-cluster-critical"
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert set(container["resources"]["limits"]) == {"memory"}
    # By default every kind of every provider would be active.
    assert "ManagedResourceActivationPolicy" not in {manifest["kind"] for manifest in made}


def without_nothing(value: Any) -> Any:
    """Return `value` without keys that are set to nothing, which the API server drops."""
    if isinstance(value, dict):
        return {key: without_nothing(item) for key, item in value.items() if item is not None}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value


def test_karpenter_is_told_of_its_cluster_and_of_the_queue_that_is_made_for_it() -> None:
    facts = add_on("karpenter").facts(CONFIG)
    queue = yaml.safe_load((ROOT / "clusters/production/rendered/add-ons/karpenter/queue.yaml").read_text())
    assert facts["settings"]["interruptionQueue"] == queue["spec"]["forProvider"]["name"]
    assert facts["settings"]["clusterName"] == "darkroom"
    assert facts["controller"]["env"] == [{"name": "AWS_REGION", "value": "us-west-2"}]
