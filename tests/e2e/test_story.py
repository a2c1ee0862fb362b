"""A commit is what the cluster does: the real control plane reconciles this repository, and jobs are served."""

import pytest

from tests.e2e.cluster.platform import kubectl
from tests.e2e.conftest import Repository
from tests.e2e.service import Service
from tests.e2e.steps import application_is, condition, get, items, refresh, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

SELECTOR = "app.kubernetes.io/instance="
# The small model is kept busy by a job for some seconds, and for most of a minute.
SHORT = {"steps": 150}
LONG = {"prompt": "a green triangle", "steps": 150, "n_iter": 16}

# Steps build on what those before left.


def test_the_root_application_brings_the_platform_in_its_waves(repository: Repository) -> None:
    repository.hand_over()

    until("Crossplane healthy", lambda: application_is("crossplane"), 300)
    until("providers and functions healthy", lambda: application_is("crossplane-packages"), 300)
    until("our APIs established", lambda: application_is("crossplane-apis"))


def test_claims_become_managed_resources_and_ready(repository: Repository) -> None:
    until("claims synced and healthy", lambda: application_is("claims"), 300)

    claims = [*items("inferenceapis", "--all-namespaces"), *items("inferenceruntimes", "--all-namespaces")]
    assert {claim["metadata"]["name"]: condition(claim, "Ready") for claim in claims} == {
        "darkroom-e2e": "True",
        "tiny": "True",
        "going": "True",
    }


def test_runtime_is_healthy_without_a_pod(repository: Repository) -> None:
    until("runtimes synced and healthy", lambda: application_is("tiny") and application_is("going"))

    until("KEDA watches the queue", lambda: condition(get("scaledobject", "tiny"), "Ready") == "True")
    until("no pod", lambda: not pods("tiny"))


def test_a_burst_of_jobs_brings_pods_and_they_go_again(service: Service) -> None:
    # Crossplane looks once a minute whether there are other runtimes.
    until("job API routes to the runtimes", lambda: service.runtimes() == {"going", "tiny"})
    jobs = [service.submit("tiny", prompt=f"a red circle {n}", **SHORT) for n in range(16)]

    until("burst to the first picture", lambda: any(succeeded(service, [job]) for job in jobs))
    until("burst to as many pods as there may be", lambda: len(pods("tiny")) == 3)
    until("burst to all pictures", lambda: succeeded(service, jobs))
    for job in jobs:
        assert service.picture(job)[:8] == b"\x89PNG\r\n\x1a\n"
    until("all callbacks", lambda: all(service.callbacks().count(job) == 1 for job in jobs))
    until("idle to no pod", lambda: not pods("tiny"))


def test_a_commit_adds_a_runtime_and_removes_another(repository: Repository, service: Service) -> None:
    assert service.queues() == {"going", "tiny"}
    config = repository.config
    repository.commit(config.replace("name: going", "name: coming").replace("going.safetensors", "coming.safetensors"))
    refresh()

    until("runtime added: its Application is healthy", lambda: application_is("coming"))
    until("runtime removed: its Application is gone", lambda: get("application", "going", "--namespace=argocd") is None)
    until("queues follow", lambda: service.queues() == {"coming", "tiny"})
    until("subscriptions follow", lambda: service.subscribed() == {"coming", "tiny"})
    until("the API's routing follows", lambda: service.runtimes() == {"coming", "tiny"})
    assert not items("deployments", "--namespace=studio", f"--selector={SELECTOR}going")


def test_what_is_changed_by_hand_is_put_back(service: Service) -> None:
    service.unsubscribe("tiny")
    kubectl("delete", "deployment", "tiny-inference-api")

    until("subscription is back", lambda: "tiny" in service.subscribed())
    until("Deployment is back", lambda: get("deployment", "tiny-inference-api") is not None)


def test_a_busy_pod_survives_scale_in(service: Service) -> None:
    long = service.submit("tiny", **LONG)
    until("long job runs", lambda: service.state(long)["status"] == "running")
    (busy,) = pods("tiny")
    burst = [service.submit("tiny", prompt=f"a blue square {n}", **SHORT) for n in range(6)]
    until("more pods", lambda: len(pods("tiny")) > 1)

    # What the busy pod has fetched waits behind the long job; all else is done by others.
    until("idle pods gone", lambda: pods("tiny") == [busy])
    assert service.state(long)["status"] == "running"
    until("all done", lambda: succeeded(service, [long, *burst]))
    assert service.callbacks().count(long) == 1
    until("idle to no pod", lambda: not pods("tiny"))


def test_a_drained_node_hands_its_job_back(service: Service) -> None:
    job = service.submit("tiny", **LONG)
    until("job runs", lambda: service.state(job)["status"] == "running")
    (drained,) = pods("tiny")

    kubectl("drain", "node1", f"--pod-selector={SELECTOR}tiny", "--delete-emptydir-data", "--timeout=120s")
    until("handed back", lambda: service.state(job)["status"] == "queued")
    kubectl("uncordon", "node1")

    until("runs elsewhere", lambda: service.state(job)["status"] == "running" and drained not in pods("tiny"))
    until("done", lambda: succeeded(service, [job]))
    until("told once", lambda: service.callbacks().count(job) == 1)


def succeeded(service: Service, jobs: list[str]) -> bool:
    """Return whether all of these jobs have succeeded; a failed one ends the test."""
    states = [service.state(job) for job in jobs]
    assert not [state for state in states if state["status"] in {"failed", "expired", "cancelled"}]
    return all(state["status"] == "succeeded" for state in states)


def pods(runtime: str) -> list[str]:
    """Return the names of a runtime's pods, those that are about to end left out."""
    found = items("pods", f"--selector={SELECTOR}{runtime}", "--all-namespaces")
    return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]
