"""Claims, what the compositions make of them, and how that looks when AWS has made it."""

import json
from pathlib import Path
from typing import Any

import yaml
from crossplane.function import resource, response
from crossplane.function.proto.v1 import run_function_pb2 as fnv1

from apps.crossplane.apis.inferenceapi import compose as inferenceapi
from bootstrap.local.admission import Admission
from bootstrap.local.compositions import Compositions

APIS = Path(__file__).parents[3] / "apps" / "crossplane" / "apis"
Manifest = dict[str, Any]
Observed = dict[str, Manifest]

ADMISSION, COMPOSITIONS = Admission(APIS), Compositions(APIS)
READY = [{"type": "Synced", "status": "True"}, {"type": "Ready", "status": "True"}]


def claim(kind: str, **spec: Any) -> Manifest:
    """Return the example claim of `kind`, changed, as the API server would store it."""
    example = yaml.safe_load((APIS / kind / "example.yaml").read_text())
    return ADMISSION.admit(example | {"spec": example["spec"] | spec})


def compose(claim: Manifest, observed: Observed | None = None, *others: Manifest) -> Observed:
    """Return the resources that `claim` wants, given what there is."""
    desired, _ = COMPOSITIONS.compose(claim, observed or {}, lambda _: others)
    return desired


def first_call(claim: Manifest, observed: Observed) -> Observed:
    """Return the resources that `claim` wants before Crossplane has fetched what the composition asks to see."""
    req = fnv1.RunFunctionRequest()
    resource.update(req.observed.composite, claim)
    for name, manifest in observed.items():
        resource.update(req.observed.resources[name], manifest)
    rsp = response.to(req)
    inferenceapi.compose(req, rsp)
    return {name: resource.struct_to_dict(item.resource) for name, item in rsp.desired.resources.items()}


def status(claim: Manifest, observed: Observed | None = None, *others: Manifest) -> Manifest:
    """Return the status of `claim`, given what there is."""
    _, found = COMPOSITIONS.compose(claim, observed or {}, lambda _: others)
    return found


def made(desired: Observed) -> Observed:
    """Return resources as they look when the provider has made them, with the ids that AWS gives."""
    return {key: _made(key, manifest) for key, manifest in desired.items()}


def _made(key: str, manifest: Manifest) -> Manifest:
    if manifest["kind"] == "ConfigMap":
        return manifest
    given, metadata = settings(manifest), manifest["metadata"]
    at_provider = {"id": f"id-of-{key}", **given}
    annotations = {"crossplane.io/external-name": f"id-of-{key}", **metadata.get("annotations", {})}
    if manifest["kind"] == "Queue":
        at_provider["url"] = f"https://sqs/{given['name']}"
    if manifest["kind"] == "Stage":
        at_provider["deploymentId"] = f"id-of-{given['deploymentIdRef']['name'].partition('.')[2]}"
    return manifest | {
        "metadata": metadata | {"annotations": annotations},
        "status": {"atProvider": at_provider, "conditions": READY},
    }


def settled(claim: Manifest, *others: Manifest) -> Observed:
    """Return what there is when nothing changes any more."""
    observed: Observed = {}
    for _ in range(10):
        found = made(compose(claim, observed, *others))
        if found == observed:
            return found
        observed = found
    raise AssertionError("the resources still change")


def api(**spec: Any) -> Manifest:
    """Return an InferenceAPI with its status."""
    found = claim("inferenceapi", **spec)
    return found | {"status": status(found)}


def settings(manifest: Manifest) -> Manifest:
    """Return what a managed resource asks for."""
    found: Manifest = manifest["spec"]["forProvider"]
    return found


def statements(manifest: Manifest, key: str = "policy") -> list[Manifest]:
    """Return the statements of the policy that a managed resource has."""
    found: list[Manifest] = json.loads(settings(manifest)[key])["Statement"]
    return found
