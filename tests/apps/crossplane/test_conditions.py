"""The condition Available: what people are told while a claim is not ready."""

import pytest
from crossplane.function import resource, response
from crossplane.function.proto.v1 import run_function_pb2 as fnv1

from apps.crossplane.apis.inferenceapi import compose as inferenceapi
from apps.crossplane.apis.inferenceruntime import compose as inferenceruntime
from tests.apps.crossplane.claims import Manifest, Observed, api, claim, compose, made, settled


def available(claim: Manifest, observed: Observed, other: Manifest | None = None) -> tuple[str, str]:
    """Return reason and message of the condition that `claim` gets."""
    req = fnv1.RunFunctionRequest()
    resource.update(req.observed.composite, claim)
    for name, manifest in observed.items():
        resource.update(req.observed.resources[name], manifest)
    composition = inferenceapi if claim["kind"] == "InferenceAPI" else inferenceruntime
    items = req.required_resources["runtimes" if claim["kind"] == "InferenceAPI" else "api"].items
    if other:
        resource.update(items.add(), other)
    rsp = response.to(req)
    composition.compose(req, rsp)
    (condition,) = rsp.conditions
    assert condition.type == "Available"
    assert (condition.status == fnv1.STATUS_CONDITION_TRUE) is (condition.reason == "Available")
    return condition.reason, condition.message


def test_what_is_in_place_is_said_to_be() -> None:
    front, runtime = claim("inferenceapi"), claim("inferenceruntime")
    assert available(front, settled(front)) == ("Available", "jobs are taken")
    assert available(runtime, settled(runtime, api()), api())[0] == "Available"


def test_what_is_waited_for_is_named_with_what_the_provider_says() -> None:
    front = claim("inferenceapi")
    observed = settled(front)
    observed["api-function"]["status"]["conditions"] = [
        {"type": "Synced", "status": "False", "message": "create failed: the image does not exist"},
        {"type": "Ready", "status": "False"},
    ]
    reason, message = available(front, observed)
    assert reason == "Waiting"
    assert message == (
        f"1 of {len(observed)} resources are not ready: Function sdoneks.api: create failed: the image does not exist"
    )


def test_a_long_list_is_cut_short() -> None:
    front = claim("inferenceapi")
    count = len(compose(front))
    _, message = available(front, {})
    assert message.startswith(f"{count} of {count} resources are not ready: Topic sdoneks.input; TopicPolicy")
    assert message.endswith(f"; and {count - 5} more")


def test_pods_wait_for_the_queue() -> None:
    runtime = claim("inferenceruntime")
    observed = made(compose(runtime, {}, api()))
    assert "config" not in observed
    assert available(runtime, observed, api()) == (
        "Waiting",
        f"1 of {len(observed) + 1} resources are not ready: ConfigMap sdruntime-inference",
    )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (None, "of spec.apiRef does not exist"),
        (claim("inferenceapi"), "of spec.apiRef is not ready yet"),
        (api(runtimes=[]), "lists no runtime sdruntime in namespace default: add it to spec.runtimes"),
    ],
)
def test_a_runtime_that_is_refused_says_why(other: Manifest | None, message: str) -> None:
    assert available(claim("inferenceruntime"), {}, other) == ("Refused", message)
