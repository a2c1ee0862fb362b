"""Composition of an InferenceAPI: topics, buckets, and the routing table of the job API.

This file runs in function-python, so it stands alone: it imports the function SDK and nothing of this repository.
"""

import json
from typing import Any

from crossplane.function import request, resource, response
from crossplane.function.proto.v1 import run_function_pb2 as fnv1

# An S3 bucket's name has 63 characters; account, region and the word between take 39 of them.
MAX_NAME_LENGTH = 24

Manifest = dict[str, Any]


def compose(req: fnv1.RunFunctionRequest, rsp: fnv1.RunFunctionResponse) -> None:
    """Add the desired resources and the status of the InferenceAPI in `req` to `rsp`."""
    api = resource.struct_to_dict(req.observed.composite.resource)
    name = api["metadata"]["name"]
    if len(name) > MAX_NAME_LENGTH:
        response.fatal(rsp, f"metadata.name {name!r} has {len(name)} characters: {MAX_NAME_LENGTH} are allowed")
        return
    labels = {"darkroom.dev/api": name}
    response.require_resources(rsp, "runtimes", "darkroom.dev/v1alpha1", "InferenceRuntime", match_labels=labels)
    if "runtimes" not in req.required_resources:
        return  # The first of two calls: Crossplane fetches the runtimes and calls again.
    for key, manifest in resources(api, request.get_required_resources(req, "runtimes")).items():
        resource.update(rsp.desired.resources[key], manifest)
    resource.update_status(rsp.desired.composite, status(api))


def status(api: Manifest) -> dict[str, str]:
    """Return what runtimes and people need to know of the InferenceAPI `api`."""
    spec = api["spec"]
    return {
        "region": spec["region"],
        "accountId": spec["accountId"],
        "inputTopicArn": topic_arn(api, "input"),
        "outputTopicArn": topic_arn(api, "output"),
        "bucket": bucket_name(api, "outputs"),
        "configBucket": bucket_name(api, "config"),
    }


def resources(api: Manifest, runtimes: list[Manifest]) -> dict[str, Manifest]:
    """Return the managed resources of the InferenceAPI `api`, by a name that never changes.

    Args:
        api: The claim.
        runtimes: The InferenceRuntimes that say they belong to it.
    """
    return {
        "input-topic": topic(api, "input"),
        "output-topic": topic(api, "output"),
        **output_bucket(api),
        **config_bucket(api, routing_table(api, runtimes)),
    }


def topic(api: Manifest, purpose: str) -> Manifest:
    """Return the SNS topic for `purpose`: `input` or `output`."""
    name = f"{api['metadata']['name']}-{purpose}"
    return managed(api, "sns", "Topic", purpose, {"tracingConfig": "Active"}, external_name=name)


def output_bucket(api: Manifest) -> dict[str, Manifest]:
    """Return the bucket of pictures and job records; unless the claim says so, deleting the claim leaves it."""
    outputs = api["spec"]["outputs"]
    delete = outputs["deletionPolicy"] == "Delete"
    rules = [half_uploads()]
    if days := outputs.get("retentionDays"):
        rules.append(
            {"id": "retention", "status": "Enabled", "filter": [{"prefix": ""}], "expiration": [{"days": days}]}
        )
    made = bucket(api, "outputs", rules, force_destroy=delete)
    if origins := outputs["corsAllowedOrigins"]:
        rule = {"allowedMethods": ["GET", "HEAD"], "allowedHeaders": ["*"], "allowedOrigins": origins}
        settings = {"bucket": bucket_name(api, "outputs"), "corsRule": [rule]}
        made["outputs-cors"] = managed(api, "s3", "BucketCorsConfiguration", "outputs", settings)
    if not delete:
        # All but Delete: the bucket, and what protects the pictures in it, outlive the claim.
        for manifest in made.values():
            manifest["spec"]["managementPolicies"] = ["Observe", "Create", "Update", "LateInitialize"]
    return made


def config_bucket(api: Manifest, table: list[Manifest]) -> dict[str, Manifest]:
    """Return the bucket that tells the job API which runtimes there are.

    It is not the output bucket, because what runtimes may write must not decide where jobs go, and because the output
    bucket's objects expire.
    """
    settings = {
        "bucket": bucket_name(api, "config"),
        "key": "runtimes.json",
        "content": json.dumps(table, sort_keys=True),
        "contentType": "application/json",
    }
    return {
        **bucket(api, "config", [half_uploads()], force_destroy=True),
        "runtimes": managed(api, "s3", "BucketObject", "runtimes", settings),
    }


def routing_table(api: Manifest, runtimes: list[Manifest]) -> list[Manifest]:
    """Return the runtimes that jobs may be routed to, in the order of the claim.

    A runtime is told to the job API when its queue receives, not before: SNS drops what no subscription wants.
    """
    receiving = {
        (runtime["metadata"]["name"], runtime["metadata"]["namespace"])
        for runtime in runtimes
        if runtime.get("status", {}).get("receiving")
    }
    listed = [runtime for runtime in api["spec"]["runtimes"] if (runtime["name"], runtime["namespace"]) in receiving]
    return [{key: value for key, value in runtime.items() if key != "namespace"} for runtime in listed]


def bucket(api: Manifest, purpose: str, lifecycle: list[Manifest], *, force_destroy: bool) -> dict[str, Manifest]:
    """Return a bucket with everything that guards it."""
    name = bucket_name(api, purpose)

    def part(kind: str, settings: Manifest) -> Manifest:
        return managed(api, "s3", kind, purpose, {"bucket": name, **settings})

    return {
        f"{purpose}-bucket": managed(api, "s3", "Bucket", purpose, {"forceDestroy": force_destroy}, external_name=name),
        f"{purpose}-public-access": part(
            "BucketPublicAccessBlock",
            dict.fromkeys(["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"], True),
        ),
        f"{purpose}-encryption": part(
            "BucketServerSideEncryptionConfiguration",
            {"rule": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
        ),
        f"{purpose}-policy": part(
            "BucketPolicy", {"policy": json.dumps(tls_only(f"arn:{partition(api)}:s3:::{name}"), sort_keys=True)}
        ),
        f"{purpose}-lifecycle": part("BucketLifecycleConfiguration", {"rule": lifecycle}),
    }


def tls_only(bucket_arn: str) -> Manifest:
    """Return a bucket policy that refuses every request made without TLS."""
    refusal = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket_arn, f"{bucket_arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {"Version": "2012-10-17", "Statement": [refusal]}


def half_uploads() -> Manifest:
    """Return the lifecycle rule that removes uploads which nobody finished."""
    return {
        "id": "half-uploads",
        "status": "Enabled",
        "filter": [{"prefix": ""}],
        "abortIncompleteMultipartUpload": [{"daysAfterInitiation": 1}],
    }


def bucket_name(api: Manifest, purpose: str) -> str:
    """Return the name of the bucket for `purpose`; account and region make it unique in the world."""
    return f"{api['metadata']['name']}-{purpose}-{api['spec']['accountId']}-{api['spec']['region']}"


def topic_arn(api: Manifest, purpose: str) -> str:
    """Return the ARN of the topic for `purpose`, known before the topic is."""
    spec = api["spec"]
    return f"arn:{partition(api)}:sns:{spec['region']}:{spec['accountId']}:{api['metadata']['name']}-{purpose}"


def partition(api: Manifest) -> str:
    """Return the AWS partition of the region."""
    prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
    region = api["spec"]["region"]
    return next((name for prefix, name in prefixes.items() if region.startswith(prefix)), "aws")


def managed(
    api: Manifest, service: str, kind: str, purpose: str, settings: Manifest, external_name: str | None = None
) -> Manifest:
    """Return a managed resource in the claim's namespace.

    Args:
        service: First part of the API group, such as `s3`.
        purpose: Ends the name, which starts with that of the claim.
        settings: `spec.forProvider` without the region.
        external_name: Name in AWS, for kinds that take it from an annotation.
    """
    metadata = {"name": f"{api['metadata']['name']}.{purpose}", "namespace": api["metadata"]["namespace"]}
    annotations = {"annotations": {"crossplane.io/external-name": external_name}} if external_name else {}
    return {
        "apiVersion": f"{service}.aws.m.upbound.io/v1beta1",
        "kind": kind,
        "metadata": metadata | annotations,
        "spec": {"forProvider": {"region": api["spec"]["region"], **settings}},
    }
