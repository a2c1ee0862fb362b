"""A commit is what the cluster does: the real control plane reconciles this repository."""

import json
import sys
import time
from collections.abc import Callable

import pytest

from tests.e2e.cluster.platform import PlatformError, kubectl
from tests.e2e.conftest import Repository

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

SECOND = """\
  - name: second
    type: sdwebui
    modelFilename: other.safetensors
"""


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


def refresh() -> None:
    """Have Argo CD look at git at once, as a webhook of the git server does."""
    kubectl(
        "annotate", "applications", "--all", "--namespace=argocd", "--overwrite", "argocd.argoproj.io/refresh=normal"
    )


def synced(name: str) -> bool:
    """Return whether an Application is what git says."""
    return says("{.status.sync.status}", "application", name, "--namespace=argocd") == "Synced"


def test_the_root_application_brings_the_apis_claims_and_runtimes(repository: Repository) -> None:
    kubectl("apply", "--server-side", f"--filename={repository.applications / 'projects'}")
    kubectl("apply", "--server-side", f"--filename={repository.applications / 'root.yaml'}")

    until("root synced", lambda: synced("root"))
    until("crossplane-apis synced", lambda: synced("crossplane-apis"))
    established = '{.items[*].status.conditions[?(@.type=="Established")].status}'
    until("APIs established", lambda: says(established, "xrd") == "True True")
    until("claims there", lambda: says("{.metadata.name}", "inferenceruntime", "tiny") == "tiny")
    # Git says nothing of replicas: KEDA does.
    until("Deployment there", lambda: says("{.metadata.name}", "deployment", "tiny-inference-api") != "")


def test_a_commit_adds_a_runtime_and_another_removes_it(repository: Repository) -> None:
    before = repository.config
    name = "{.metadata.name}"
    repository.commit(before.replace("\n# Where all", f"{SECOND}\n# Where all"))
    refresh()
    until("commit → claim", lambda: says(name, "inferenceruntime", "second") == "second")
    until("commit → Deployment", lambda: says(name, "deployment", "second-inference-api") != "")

    repository.commit(before)
    refresh()
    until("commit → claim gone", lambda: says(name, "inferenceruntime", "second") == "")
    until("commit → Deployment gone", lambda: says(name, "deployment", "second-inference-api") == "")


def test_what_somebody_changes_by_hand_is_changed_back(repository: Repository) -> None:
    seconds = ("{.spec.alarms.oldestJobSeconds}", "inferenceruntime", "tiny")
    asked = says(*seconds)
    patch = json.dumps({"spec": {"alarms": {"oldestJobSeconds": int(asked) + 1}}})
    kubectl("patch", "inferenceruntime", "tiny", "--type=merge", f"--patch={patch}")
    until("drift healed", lambda: says(*seconds) == asked)


def _applications() -> str:
    return kubectl("get", "applications", "--namespace=argocd", "--output=wide")
