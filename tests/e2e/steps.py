"""What the stories' steps share: waiting, and asking the cluster and AWS."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.e2e.cluster.platform import PlatformError, kubectl

Manifest = dict[str, Any]


def until(what: str, holds: Callable[[], object], seconds: float = 180) -> float:
    """Wait until something holds; print how long that took and return it, in seconds."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"{what}: not after {seconds:g} s\n{_situation()}")
        time.sleep(0.5)
    took = time.monotonic() - began
    sys.stdout.write(f"{what}: {took:.1f} s\n")
    return took


def get(*what: str) -> Manifest | None:
    """Return what kubectl gets, or None while it is not there."""
    try:
        found: Manifest = json.loads(kubectl("get", *what, "--output=json"))
    except PlatformError:
        return None
    return found


def items(*what: str) -> list[Manifest]:
    """Return the items of a list that kubectl gets."""
    found = get(*what)
    return found["items"] if found else []


def condition(manifest: Manifest | None, kind: str) -> str:
    """Return the status of one of its conditions, or nothing while it has none."""
    conditions = (manifest or {}).get("status", {}).get("conditions", [])
    return next((str(it["status"]) for it in conditions if it["type"] == kind), "")


def application_is(name: str, sync: str = "Synced", health: str = "Healthy") -> bool:
    """Return whether an Application is what git says, and well."""
    status = (get("application", name, "--namespace=argocd") or {}).get("status", {})
    return (status.get("sync", {}).get("status"), status.get("health", {}).get("status")) == (sync, health)


def refresh() -> None:
    """Have Argo CD look at git now; by itself it does every few minutes, or when a webhook calls."""
    kubectl("annotate", "applications", "--all", "--namespace=argocd", "argocd.argoproj.io/refresh=normal")


def _situation() -> str:
    lines = [kubectl("get", "applications", "--namespace=argocd", "--output=wide")]
    for item in items("applications", "--namespace=argocd"):
        operation = item.get("status", {}).get("operationState", {})
        lines += [f"{item['metadata']['name']}: {operation.get('phase')}: {operation.get('message')}"]
    lines.append(kubectl("get", "pods", "--all-namespaces", "--field-selector=status.phase!=Running"))
    for claim in (*items("inferenceapis", "--all-namespaces"), *items("inferenceruntimes", "--all-namespaces")):
        lines.append(f"{claim['kind']} {claim['metadata']['name']}: Ready: {condition(claim, 'Ready') or 'Unknown'}")
    return "\n".join(lines)
