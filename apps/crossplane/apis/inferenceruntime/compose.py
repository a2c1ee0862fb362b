"""Composition of an InferenceRuntime: its queue, dead-letter queue and subscription, and the ConfigMap of its pods.

This file runs in function-python, so it stands alone: it imports the function SDK and nothing of this repository.
"""

import json
from typing import Any

from crossplane.function import request, resource, response
from crossplane.function.proto.v1 import run_function_pb2 as fnv1

# The longest that SQS keeps a message: time to look at what failed.
DEAD_LETTER_RETENTION_SECONDS = 14 * 24 * 3600

Manifest = dict[str, Any]


def compose(req: fnv1.RunFunctionRequest, rsp: fnv1.RunFunctionResponse) -> None:
    """Add the desired resources and the status of the InferenceRuntime in `req` to `rsp`."""
    runtime = resource.struct_to_dict(req.observed.composite.resource)
    reference = runtime["spec"]["apiRef"]
    response.require_resources(
        rsp,
        "api",
        "darkroom.dev/v1alpha1",
        "InferenceAPI",
        match_name=reference["name"],
        namespace=reference["namespace"],
    )
    if "api" not in req.required_resources:
        return  # The first of two calls: Crossplane fetches the API and calls again.
    api = request.get_required_resource(req, "api")
    if not api or "inputTopicArn" not in api.get("status", {}):
        # Fatal rather than empty: nothing that exists is dropped while the API cannot be seen.
        where = f"{reference['namespace']}/{reference['name']}"
        response.fatal(rsp, f"InferenceAPI {where} of spec.apiRef {'is not ready yet' if api else 'does not exist'}")
        return
    metadata = runtime["metadata"]
    if (metadata["name"], metadata["namespace"]) not in {
        (it["name"], it["namespace"]) for it in api["spec"]["runtimes"]
    }:
        # Or whoever may make a claim could take over the queue of a runtime in another namespace.
        response.fatal(
            rsp,
            f"InferenceAPI {reference['namespace']}/{reference['name']} lists no runtime {metadata['name']} "
            f"in namespace {metadata['namespace']}: add it to spec.runtimes",
        )
        return
    observed = {name: resource.struct_to_dict(item.resource) for name, item in req.observed.resources.items()}
    for key, manifest in resources(runtime, api["status"], observed).items():
        resource.update(rsp.desired.resources[key], manifest)
    resource.update_status(rsp.desired.composite, status(runtime, observed))


def resources(runtime: Manifest, api: Manifest, observed: dict[str, Manifest]) -> dict[str, Manifest]:
    """Return the resources of `runtime`, by a name that never changes.

    Args:
        runtime: The claim.
        api: The status of its InferenceAPI.
        observed: The resources as they are, by the same names.
    """
    made = {
        "dead-letter-queue": dead_letter_queue(runtime, api),
        "queue": queue(runtime, api),
        "queue-policy": queue_policy(runtime, api),
        "subscription": subscription(runtime, api),
    }
    if url := queue_url(observed, "queue"):
        made["config"] = config_map(runtime, api, url)
    return made


def status(runtime: Manifest, observed: dict[str, Manifest]) -> Manifest:
    """Return what people need to know of the runtime, as far as it is known."""
    known = {
        "receiving": is_ready(observed, "subscription") and is_ready(observed, "queue-policy"),
        "queueUrl": queue_url(observed, "queue"),
        "deadLetterQueueUrl": queue_url(observed, "dead-letter-queue"),
        "configMap": config_map_name(runtime) if "config" in observed else None,
    }
    return {name: value for name, value in known.items() if value}


def queue(runtime: Manifest, api: Manifest) -> Manifest:
    """Return the queue of the runtime's jobs."""
    settings = runtime["spec"]["queue"]
    redrive = {
        "deadLetterTargetArn": queue_arn(runtime, api, "_dead-letter"),
        "maxReceiveCount": int(settings["maxReceiveCount"]),
    }
    return managed(
        runtime,
        api,
        ("sqs", "Queue", "queue"),
        {
            "name": queue_name(runtime),
            "visibilityTimeoutSeconds": settings["visibilityTimeoutSeconds"],
            "messageRetentionSeconds": settings["retentionSeconds"],
            "receiveWaitTimeSeconds": 20,
            "redrivePolicy": json.dumps(redrive, sort_keys=True),
            "sqsManagedSseEnabled": True,
        },
    )


def dead_letter_queue(runtime: Manifest, api: Manifest) -> Manifest:
    """Return the queue of the jobs that were tried too often."""
    return managed(
        runtime,
        api,
        ("sqs", "Queue", "dead-letter-queue"),
        {
            "name": queue_name(runtime, "_dead-letter"),
            "messageRetentionSeconds": DEAD_LETTER_RETENTION_SECONDS,
            "sqsManagedSseEnabled": True,
        },
    )


def queue_policy(runtime: Manifest, api: Manifest) -> Manifest:
    """Return the policy by which only the API's input topic may send to the queue, and everything only over TLS."""
    arn = queue_arn(runtime, api)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "InputTopic",
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": api["inputTopicArn"]}},
            },
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
    settings = {
        "policy": json.dumps(policy, sort_keys=True),
        "queueUrlRef": {"name": f"{runtime['metadata']['name']}.queue"},
    }
    return managed(runtime, api, ("sqs", "QueuePolicy", "queue"), settings)


def subscription(runtime: Manifest, api: Manifest) -> Manifest:
    """Return the subscription that brings the runtime the jobs routed to it, and no others.

    The envelope stays on (no raw delivery), since agents of the guidance unpack it.
    """
    settings = {
        "topicArn": api["inputTopicArn"],
        "protocol": "sqs",
        "endpoint": queue_arn(runtime, api),
        "filterPolicyScope": "MessageAttributes",
        "filterPolicy": json.dumps({"runtime": [runtime["metadata"]["name"]]}),
        "rawMessageDelivery": False,
    }
    return managed(runtime, api, ("sns", "TopicSubscription", "queue"), settings)


def config_map(runtime: Manifest, api: Manifest, url: str) -> Manifest:
    """Return the ConfigMap that the runtime's pods take their environment from, in the guidance's words and ours."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(runtime), "namespace": runtime["metadata"]["namespace"]},
        "data": {
            "AWS_DEFAULT_REGION": api["region"],
            "MAX_RECEIVE_COUNT": str(int(runtime["spec"]["queue"]["maxReceiveCount"])),
            "RUNTIME_NAME": runtime["metadata"]["name"],
            "S3_BUCKET": api["bucket"],
            "SNS_TOPIC_ARN": api["outputTopicArn"],
            "SQS_QUEUE_URL": url,
            "VISIBILITY_TIMEOUT_SECONDS": str(int(runtime["spec"]["queue"]["visibilityTimeoutSeconds"])),
        },
    }


def config_map_name(runtime: Manifest) -> str:
    """Return the name of the runtime's ConfigMap, which the chart mounts."""
    return f"{runtime['metadata']['name']}-inference"


def is_ready(observed: dict[str, Manifest], key: str) -> bool:
    """Return whether the observed resource `key` says that it is ready."""
    conditions = observed.get(key, {}).get("status", {}).get("conditions", [])
    return any((condition["type"], condition["status"]) == ("Ready", "True") for condition in conditions)


def queue_url(observed: dict[str, Manifest], key: str) -> str | None:
    """Return the URL of the observed queue `key`, once it has one."""
    url: str | None = observed.get(key, {}).get("status", {}).get("atProvider", {}).get("url")
    if url is None and key == "queue":
        # While a provider restarts, the queue's status may be away: pods keep what they were told.
        url = observed.get("config", {}).get("data", {}).get("SQS_QUEUE_URL")
    return url


def queue_name(runtime: Manifest, suffix: str = "") -> str:
    """Return the name in AWS of the runtime's queue; the API's name starts it, so that clusters share an account.

    No Kubernetes name has an underscore, so no two runtimes of whatever names share a queue.
    """
    return f"{runtime['spec']['apiRef']['name']}_{runtime['metadata']['name']}{suffix}"


def queue_arn(runtime: Manifest, api: Manifest, suffix: str = "") -> str:
    """Return the ARN of the runtime's queue, known before the queue is: the topic's with another service and name."""
    partition = api["inputTopicArn"].split(":")[1]
    return f"arn:{partition}:sqs:{api['region']}:{api['accountId']}:{queue_name(runtime, suffix)}"


def managed(runtime: Manifest, api: Manifest, identity: tuple[str, str, str], settings: Manifest) -> Manifest:
    """Return a managed resource in the claim's namespace.

    Args:
        identity: First part of the API group, such as `sqs`; kind; and the end of the name, which starts with that of
            the claim.
        settings: `spec.forProvider` without the region.
    """
    service, kind, purpose = identity
    return {
        "apiVersion": f"{service}.aws.m.upbound.io/v1beta1",
        "kind": kind,
        "metadata": {
            "name": f"{runtime['metadata']['name']}.{purpose}",
            "namespace": runtime["metadata"]["namespace"],
        },
        "spec": {"forProvider": {"region": api["region"], **settings}},
    }
