"""A commit is what the cluster does: the real control plane reconciles this repository."""

import sys
import time
from collections.abc import Callable

import pytest

from tests.e2e.cluster.platform import PlatformError, kubectl
from tests.e2e.conftest import Repository

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def until(what: str, holds: Callable[[], bool], seconds: float = 180) -> None:
    """Wait until something holds, and print how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"{what}: not after {seconds:g} s\n{_applications()}"
        time.sleep(0.5)
    sys.stdout.write(f"{what}: {time.monotonic() - began:.1f} s\n")


def says(path: str, *what: str) -> str:
    """Return what kubectl prints of something, or nothing while it is not there."""
    try:
        return kubectl("get", *what, f"--output=jsonpath={path}")
    except PlatformError:
        return ""


def synced(name: str) -> bool:
    """Return whether an Application is what git says."""
    return says("{.status.sync.status}", "application", name, "--namespace=argocd") == "Synced"


def test_the_root_application_brings_our_apis_and_the_claim_of_the_first_wave(repository: Repository) -> None:
    kubectl("apply", "--server-side", f"--filename={repository.applications / 'projects'}")
    kubectl("apply", "--server-side", f"--filename={repository.applications / 'root.yaml'}")

    until("crossplane-apis synced", lambda: synced("crossplane-apis"))
    established = '{.items[*].status.conditions[?(@.type=="Established")].status}'
    until("APIs established", lambda: says(established, "xrd") == "True True")
    claim = ("inferenceapi", "darkroom-e2e", "--namespace=darkroom")
    until("claim there", lambda: says("{.metadata.name}", *claim) == "darkroom-e2e")


def _applications() -> str:
    return kubectl("get", "applications", "--namespace=argocd", "--output=wide")
