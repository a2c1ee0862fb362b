"""The chart as Helm renders it, for tests to look at."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "runtimes" / "chart"
CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
NAMESPACE = "pictures"

Manifest = dict[str, Any]
# Every leaf of some manifests, by kind and path, such as `ScaledObject.spec.pollingInterval`.
Leaves = dict[str, Any]

# What items of lists are told apart by, the first that they have; others go by their place.
IDENTITIES = ("mountPath", "name", "deviceName", "alias", "key", "type")


class RefusedError(Exception):
    """Helm did not take the values; the text is what it says."""


class Chart:
    """The chart, rendered by the real Helm.

    Attributes:
        helm: Path of the program.
    """

    def __init__(self, helm: Path) -> None:
        self.helm = helm
        self._cases: dict[str, dict[str, Manifest]] = {}

    def render(self, values: Manifest, release: str = "sdruntime", folder: Path = CHART) -> list[Manifest]:
        """Return the manifests of a release.

        Args:
            folder: The chart, or a package of it.

        Raises:
            RefusedError: The values are not those of the chart, or do not go together.
        """
        command = [str(self.helm), "template", release, str(folder), "--namespace", NAMESPACE, "--values", "-"]
        done = subprocess.run(command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RefusedError(done.stderr)
        return [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]

    def render_case(self, case: str) -> dict[str, Manifest]:
        """Return the manifests of one of the cases, by kind; ConfigMaps by kind and the end of their name."""
        if case not in self._cases:
            [file] = [file for file in CASES if file.stem == case]
            self._cases[case] = by_kind(self.render(yaml.safe_load(file.read_text())))
        return self._cases[case]


def by_kind(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return manifests by their kind; ConfigMaps, of which there may be two, with the end of their name."""
    found = {label(manifest): manifest for manifest in manifests}
    assert len(found) == len(manifests)
    return found


def label(manifest: Manifest) -> str:
    """Return what tests call a manifest."""
    kind: str = manifest["kind"]
    return f"{kind}-{manifest['metadata']['name'].rpartition('-')[2]}" if kind == "ConfigMap" else kind


def leaves(manifests: list[Manifest]) -> Leaves:
    """Return every leaf of some manifests."""
    found: Leaves = {}
    for manifest in manifests:
        _add_leaves(found, label(manifest), manifest)
    return found


def _add_leaves(found: Leaves, path: str, value: Any) -> None:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            _add_leaves(found, f"{path}.{key}", item)
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            _add_leaves(found, f"{path}[{_identity(item, place, value)}]", item)
    else:
        assert path not in found, path
        found[path] = value


def _identity(item: Any, place: int, items: list[Any]) -> str:
    if isinstance(item, dict):
        for key in IDENTITIES:
            if key in item and sum(other.get(key) == item[key] for other in items) == 1:
                return str(item[key])
    return str(place)


def container(deployment: Manifest, name: str) -> Manifest:
    """Return a container of a Deployment, sidecars included."""
    pod = deployment["spec"]["template"]["spec"]
    [found] = [found for found in pod["initContainers"] + pod["containers"] if found["name"] == name]
    return dict(found)


def env(found: Manifest) -> dict[str, Any]:
    """Return the variables of a container that the chart or people set."""
    assert len({variable["name"] for variable in found["env"]}) == len(found["env"])
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in found["env"]}
