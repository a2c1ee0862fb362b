"""A pod that wants a GPU gets a node, and the node goes with the pod. Karpenter decides; EC2 is simulated."""

import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.cluster.karpenter import announce_interruption
from tests.e2e.cluster.places import REPOSITORIES
from tests.e2e.cluster.platform import kubectl
from tests.e2e.conftest import FOLDER, Repository
from tests.e2e.steps import Manifest, application_is, condition, get, items, refresh, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RUNTIME = "painter"
# EC2 has many more types with room for the pod.
ALLOWED = ["g4dn.xlarge", "g5.xlarge"]

# Steps build on what those before left.


@pytest.fixture(scope="module", autouse=True)
def before(repository: Repository) -> Iterator[str]:
    """Bring a runtime on GPUs, and give the cluster's file as it was; the rest of the cluster is another story."""
    before = repository.config
    deliver(repository, with_painter(before, replicas=1))
    yield before
    repository.commit(before)
    refresh()
    kubectl("delete", "application", RUNTIME, "--namespace=argocd", "--ignore-not-found")


def test_a_waiting_pod_gets_a_node_of_a_type_that_its_runtime_allows() -> None:
    until("chart synced", lambda: get("nodepool", RUNTIME) is not None)
    until("nodes can be had", lambda: condition(get("nodepool", RUNTIME), "Ready") == "True")
    until("node asked for", nodes_asked_for)
    until("pod runs", lambda: running_on() is not None)

    node = running_on()
    assert node
    assert node["metadata"]["labels"]["karpenter.sh/nodepool"] == RUNTIME
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] in ALLOWED
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
    assert {taint["key"]: taint.get("value") for taint in node["spec"]["taints"]} == {
        "nvidia.com/gpu": None,
        "runtime": RUNTIME,
    }
    assert application_is(RUNTIME)


def test_a_node_without_a_gpu_has_no_pod_of_the_runtime_and_one_with_has_no_other() -> None:
    on = {pod["metadata"]["name"]: pod["spec"].get("nodeName") for pod in items("pods", "--all-namespaces")}

    assert "node1" in on.values()
    assert {name for name, node in on.items() if node not in ("node1", None)} == set(names(pods()))


def test_a_pod_moves_before_its_spot_instance_is_taken() -> None:
    (taken,) = nodes_asked_for()
    announce_interruption(taken["status"]["providerID"].rpartition("/")[2])

    until("spot: node given up", lambda: names([taken])[0] not in names(nodes_asked_for()))
    until("spot: pod runs on another", lambda: running_on() is not None)


def test_a_node_goes_when_its_pod_is_gone(repository: Repository, before: str) -> None:
    deliver(repository, with_painter(before, replicas=0))

    until("pod gone", lambda: not pods())
    until("node gone", lambda: not nodes_asked_for() and names(items("nodes")) == ["node1"])


def with_painter(config: str, replicas: int) -> str:
    """Return a cluster's file with a runtime whose number of pods is what git says."""
    document = yaml.safe_load(config)
    document["modelsRuntime"].append(
        {
            "name": RUNTIME,
            "type": "sdwebui",
            "modelFilename": "painter.safetensors",
            "extraValues": {
                "karpenter": {"provisioner": {"instanceType": ALLOWED}},
                "runtime": {"scaling": {"enabled": False}, "replicas": replicas},
            },
        }
    )
    return str(yaml.safe_dump(document))


def deliver(repository: Repository, config: str) -> None:
    """Commit a cluster's file and hand the runtime's Application over to Argo CD, as the root Application would."""
    repository.commit(config)
    for path in ("projects/darkroom.yaml", f"runtimes/{RUNTIME}.yaml"):
        command = ["git", f"--git-dir={REPOSITORIES / 'darkroom.git'}", "show"]
        command.append(f"main:{FOLDER}/rendered/applications/{path}")
        manifest = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=manifest)


def nodes_asked_for() -> list[Manifest]:
    """Return the NodeClaims that have become an instance."""
    return [claim for claim in items("nodeclaims") if claim.get("status", {}).get("providerID")]


def pods() -> list[Manifest]:
    """Return the runtime's pods."""
    return items("pods", f"--selector=app.kubernetes.io/instance={RUNTIME}", "--all-namespaces")


def running_on() -> Manifest | None:
    """Return the ready node that the runtime's only pod runs on, or None while it does not."""
    found = [pod for pod in pods() if not pod["metadata"].get("deletionTimestamp")]
    if len(found) != 1 or condition(found[0], "Ready") != "True":
        return None
    node = get("node", found[0]["spec"]["nodeName"])
    return node if condition(node, "Ready") == "True" else None


def names(manifests: list[Manifest]) -> list[str]:
    """Return their names."""
    return [manifest["metadata"]["name"] for manifest in manifests]
