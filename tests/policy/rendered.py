"""Every manifest that this repository makes, and where each comes from."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from crossplane.function.proto.v1 import run_function_pb2 as fnv1

from bootstrap.local.admission import Admission
from bootstrap.local.compositions import Compositions

ROOT = Path(__file__).parents[2]
APIS = ROOT / "apps" / "crossplane" / "apis"
CHART = ROOT / "runtimes" / "chart"
CASES = sorted((ROOT / "tests" / "runtimes" / "cases").glob("*.yaml"))
# A composition sees what its resources became, and may then make more: it is called until nothing is new.
MOST_ROUNDS = 6
CLUSTER_SCOPED = {"EC2NodeClass", "NodePool", "PersistentVolume"}

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """A manifest, and what to look at when something is wrong with it."""

    origin: str
    manifest: Manifest

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """How people call it: `Queue sdoneks-sdruntime (composed from …)`."""
        return f"{self.kind} {self.manifest['metadata'].get('name')} ({self.origin})"


def committed() -> list[Rendered]:
    """Return what is in git as it goes to a cluster."""
    paths = [*ROOT.glob("clusters/*/rendered/**/*.yaml"), *ROOT.glob("apps/**/*.yaml")]
    return [
        Rendered(str(path.relative_to(ROOT)), manifest)
        for path in sorted(paths)
        for manifest in yaml.load_all(path.read_text(), yaml.CSafeLoader)
        # What bootstrap makes a cluster of is nothing that goes into one.
        if path.parent.name != "bootstrap" and isinstance(manifest, dict) and {"apiVersion", "kind"} <= set(manifest)
    ]


def claims(manifests: Iterable[Rendered]) -> dict[str, list[Manifest]]:
    """Return the claims among `manifests`, those that belong together by a name: a cluster's, and the examples."""
    found: dict[str, list[Manifest]] = {}
    for item in manifests:
        if item.manifest["apiVersion"].startswith("darkroom.dev/"):
            owner = item.origin.split("/")[1] if item.origin.startswith("clusters/") else "examples"
            found.setdefault(owner, []).append(item.manifest)
    return {owner: sorted(group, key=lambda claim: str(claim["kind"])) for owner, group in found.items()}


def charted(helm: Path, manifests: Iterable[Rendered]) -> list[Rendered]:
    """Return what Helm makes of every Application that has its chart in this repository, and of every case."""
    made: list[Rendered] = []
    for item in manifests:
        source = item.manifest["spec"].get("source", {}) if item.kind == "Application" else {}
        if "helm" in source and "path" in source:
            values, namespace = source["helm"]["valuesObject"], item.manifest["spec"]["destination"]["namespace"]
            made += template(helm, ROOT / source["path"], source["helm"]["releaseName"], namespace, values, item.origin)
    for case in CASES:
        values = yaml.safe_load(case.read_text()) or {}
        origin = str(case.relative_to(ROOT))
        made += template(helm, CHART, case.stem, "runtimes", values, origin)
    return made


def template(helm: Path, chart: Path, release: str, namespace: str, values: Manifest, origin: str) -> list[Rendered]:
    """Return what Helm makes of a chart."""
    command = [str(helm), "template", release, str(chart), "--namespace", namespace, "--values", "-"]
    done = subprocess.run(command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{origin}: {done.stderr}"
    found = [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]
    for manifest in found:
        if manifest["kind"] not in CLUSTER_SCOPED:
            # What Argo CD does when it applies a manifest that names none.
            manifest["metadata"].setdefault("namespace", namespace)
    return [Rendered(f"the chart with {origin}", manifest) for manifest in found]


def composed(groups: dict[str, list[Manifest]]) -> list[Rendered]:
    """Return what Crossplane makes of claims, when all of it is there."""
    return [
        Rendered(f"composed from the {claim['kind']} {claim['metadata']['name']} of {owner}", manifest)
        for owner, group in groups.items()
        for claim, desired in settled(group)
        for manifest in desired.values()
    ]


def settled(group: list[Manifest]) -> list[tuple[Manifest, dict[str, Manifest]]]:
    """Return each claim of `group` as it ends, with its status, and its resources by the composition's names."""
    admission, compositions = Admission(APIS), Compositions(APIS)
    ended: list[tuple[Manifest, dict[str, Manifest]]] = [(admission.admit(claim), {}) for claim in group]
    for _ in range(MOST_ROUNDS):
        for index, (claim, desired) in enumerate(ended):
            everything = [other for other, _ in ended]
            ended[index] = _composed_again(compositions, claim, desired, everything)
    return ended


def _composed_again(
    compositions: Compositions, claim: Manifest, before: dict[str, Manifest], others: list[Manifest]
) -> tuple[Manifest, dict[str, Manifest]]:
    def fetch(selector: fnv1.ResourceSelector) -> list[Manifest]:
        found = [other for other in others if other["kind"] == selector.kind]
        if selector.HasField("match_name"):
            return [other for other in found if other["metadata"]["name"] == selector.match_name]
        wanted = dict(selector.match_labels.labels)
        return [other for other in found if wanted.items() <= other["metadata"].get("labels", {}).items()]

    desired, status = compositions.compose(claim, existing(before), fetch)
    return claim | {"status": status}, desired


def existing(desired: dict[str, Manifest]) -> dict[str, Manifest]:
    """Return resources as they are once they exist and are ready."""
    ready = [{"type": kind, "status": "True", "reason": "Available"} for kind in ("Ready", "Synced")]
    return {
        name: manifest
        if manifest["apiVersion"] == "v1"
        else manifest
        | {
            "status": {
                "conditions": ready,
                "atProvider": {"id": name, "arn": f"arn:aws:::{name}", "url": f"https://sqs.example.com/{name}"},
            }
        }
        for name, manifest in desired.items()
    }


def merged(base: Manifest, change: Manifest) -> Manifest:
    """Return `base` with `change` laid over it, at every depth."""
    return base | {
        key: merged(base.get(key, {}), value) if isinstance(value, dict) else value for key, value in change.items()
    }
