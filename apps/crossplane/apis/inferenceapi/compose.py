"""Composition of an InferenceAPI: topics, buckets, the job API behind API Gateway, and delivery of webhooks.

The generator joins it with the modules of this repository that it imports, and function-python runs the result.
"""

import json

from crossplane.function import request, resource, response
from crossplane.function.proto.v1 import run_function_pb2 as fnv1

from apps.crossplane.apis.inferenceapi.buckets import config_bucket, output_bucket
from apps.crossplane.apis.inferenceapi.function import function, job_api
from apps.crossplane.apis.inferenceapi.gateway import api_key_secret, gateway, url
from apps.crossplane.apis.inferenceapi.names import bucket_name, owner_of, topic_arn, webhook_secret_name
from apps.crossplane.apis.inferenceapi.reconciliation import reconciliation
from apps.crossplane.apis.inferenceapi.topics import topics
from apps.crossplane.apis.inferenceapi.webhooks import webhooks
from apps.crossplane.aws.owner import Manifest
from apps.crossplane.aws.readiness import waiting


def compose(req: fnv1.RunFunctionRequest, rsp: fnv1.RunFunctionResponse) -> None:
    """Add the desired resources, the status and a condition of the InferenceAPI in `req` to `rsp`."""
    api = resource.struct_to_dict(req.observed.composite.resource)
    labels = {"darkroom.dev/api": api["metadata"]["name"]}
    response.require_resources(rsp, "runtimes", "darkroom.dev/v1alpha1", "InferenceRuntime", match_labels=labels)
    # In the first of two calls nobody has fetched them yet.
    known = "runtimes" in req.required_resources
    runtimes = request.get_required_resources(req, "runtimes") if known else None
    observed = {name: resource.struct_to_dict(item.resource) for name, item in req.observed.resources.items()}
    desired = resources(api, runtimes, observed)
    for key, manifest in desired.items():
        resource.update(rsp.desired.resources[key], manifest)
    resource.update_status(rsp.desired.composite, status(api, observed))
    late = waiting(desired, observed)
    condition = (
        resource.Condition("Available", "False", "Waiting", late)
        if late
        else resource.Condition("Available", "True", "Available", "jobs are taken")
    )
    response.set_conditions(rsp, condition)


def status(api: Manifest, observed: dict[str, Manifest]) -> dict[str, str]:
    """Return what runtimes and people need to know of the InferenceAPI `api`, as far as it is known."""
    owner, spec = owner_of(api), api["spec"]
    known = {
        "region": owner.region,
        "accountId": owner.account_id,
        "url": url(owner, spec["stageName"], observed),
        "inputTopicArn": topic_arn(owner, "input"),
        "outputTopicArn": topic_arn(owner, "output"),
        "bucket": bucket_name(owner, "outputs"),
        "configBucket": bucket_name(owner, "config"),
        "webhookQueueUrl": observed.get("webhooks-queue", {}).get("status", {}).get("atProvider", {}).get("url"),
        "webhookSecretCommand": (
            f"aws secretsmanager get-secret-value --region {owner.region} "
            f"--secret-id {webhook_secret_name(owner)} --query SecretString --output text"
        ),
    }
    if spec["apiKey"]["required"]:
        known["apiKeyCommand"] = (
            f"kubectl get secret -n {owner.namespace} {api_key_secret(owner)} "
            r"-o jsonpath='{.data.attribute\.value}' | base64 -d"
        )
    # While a provider restarts, the status of its resources may be away: people keep what they were told.
    before = api.get("status", {})
    told = {name: value or before.get(name) for name, value in known.items()}
    return {name: value for name, value in told.items() if value}


def resources(api: Manifest, runtimes: list[Manifest] | None, observed: dict[str, Manifest]) -> dict[str, Manifest]:
    """Return the managed resources of the InferenceAPI `api`, by a name that never changes.

    Args:
        api: The claim.
        runtimes: The InferenceRuntimes that say they belong to it; None while nobody has fetched them.
        observed: The resources as they are, by the same names.
    """
    owner, spec = owner_of(api), api["spec"]
    return {
        **topics(owner, traced=spec["tracing"]),
        **output_bucket(owner, spec["outputs"]),
        **config_bucket(owner, routing_table(api, runtimes, observed)),
        **function(owner, spec, job_api(owner, spec["outputs"])),
        **reconciliation(owner, spec),
        **gateway(owner, spec, observed),
        **webhooks(owner, spec),
    }


def routing_table(api: Manifest, runtimes: list[Manifest] | None, observed: dict[str, Manifest]) -> str | None:
    """Return the runtimes that jobs may be routed to, in the order of the claim, as the job API reads them.

    A runtime is told to the job API when its queue receives, not before: SNS drops what no subscription wants. What was
    told stays while nobody knows better; None if nothing was.
    """
    if runtimes is None:
        told: str | None = observed.get("runtimes", {}).get("spec", {}).get("forProvider", {}).get("content")
        return told
    receiving = {
        (runtime["metadata"]["name"], runtime["metadata"]["namespace"]): runtime["status"]
        for runtime in runtimes
        if runtime.get("status", {}).get("receiving")
    }
    table = []
    for runtime in api["spec"]["runtimes"]:
        found = receiving.get((runtime["name"], runtime["namespace"]))
        if found is not None:
            line = {key: value for key, value in runtime.items() if key != "namespace"}
            table.append(line | ({"queueUrl": found["queueUrl"]} if "queueUrl" in found else {}))
    return json.dumps(table, sort_keys=True)
