"""Composition of an InferenceRuntime: its queue and subscription, and what its pods are told and may do.

The generator joins it with the modules of this repository that it imports, and function-python runs the result.
"""

from crossplane.function import request, resource, response
from crossplane.function.proto.v1 import run_function_pb2 as fnv1

from apps.crossplane.apis.inferenceruntime.names import (
    config_map_name,
    dead_letter_queue_name,
    owner_of,
    pod_role_name,
    queue_name,
)
from apps.crossplane.apis.inferenceruntime.pods import config_map, pod_identity
from apps.crossplane.aws.alarm import alarm, dead_letters, oldest_message
from apps.crossplane.aws.owner import Manifest, Owner
from apps.crossplane.aws.queue import FedQueue, fed_queue
from apps.crossplane.aws.readiness import is_ready, waiting


def compose(req: fnv1.RunFunctionRequest, rsp: fnv1.RunFunctionResponse) -> None:
    """Add the desired resources, the status and a condition of the InferenceRuntime in `req` to `rsp`."""
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
    why = refusal(runtime, api)
    if why or api is None:
        # Fatal rather than empty: nothing that exists is dropped while the API cannot be seen.
        response.fatal(rsp, f"InferenceAPI {reference['namespace']}/{reference['name']} {why}")
        response.set_conditions(rsp, resource.Condition("Available", "False", "Refused", why))
        return
    observed = {name: resource.struct_to_dict(item.resource) for name, item in req.observed.resources.items()}
    desired = resources(runtime, api, observed)
    for key, manifest in desired.items():
        resource.update(rsp.desired.resources[key], manifest)
    if "config" in desired and "config" in observed:
        # A ConfigMap has no condition that function-auto-ready could look at: it is ready when it is there.
        rsp.desired.resources["config"].ready = fnv1.READY_TRUE
    resource.update_status(rsp.desired.composite, status(runtime, api, observed))
    late = waiting(desired, observed)
    condition = (
        resource.Condition("Available", "False", "Waiting", late)
        if late
        else resource.Condition("Available", "True", "Available", "pods may start, and jobs reach the queue")
    )
    response.set_conditions(rsp, condition)


def refusal(runtime: Manifest, api: Manifest | None) -> str:
    """Return what of its InferenceAPI keeps the runtime from being made; empty when nothing does."""
    if not api:
        return "of spec.apiRef does not exist"
    if "inputTopicArn" not in api.get("status", {}):
        return "of spec.apiRef is not ready yet"
    name, namespace = runtime["metadata"]["name"], runtime["metadata"]["namespace"]
    if (name, namespace) not in {(listed["name"], listed["namespace"]) for listed in api["spec"]["runtimes"]}:
        # Or whoever may make a claim could take over the queue of a runtime in another namespace.
        return f"lists no runtime {name} in namespace {namespace}: add it to spec.runtimes"
    return ""


def resources(runtime: Manifest, api: Manifest, observed: dict[str, Manifest]) -> dict[str, Manifest]:
    """Return the resources of `runtime`, by a name that never changes.

    Args:
        runtime: The claim.
        api: Its InferenceAPI.
        observed: The resources as they are, by the same names.
    """
    owner = owner_of(runtime, api)
    queue = job_queue(runtime, api)
    made = {
        **fed_queue(owner, queue),
        **pod_identity(owner, runtime, api, owner.arn("sqs", queue.name)),
        **alarms(owner, queue, runtime["spec"]["alarms"], api["spec"]["alarms"].get("topicArn")),
    }
    if url := queue_url(runtime, observed):
        made["config"] = config_map(owner, runtime["spec"], api["status"], url)
    return made


def job_queue(runtime: Manifest, api: Manifest) -> FedQueue:
    """Return the queue of the jobs that are routed to the runtime, and of no others."""
    settings, name = runtime["spec"]["queue"], runtime["metadata"]["name"]
    return FedQueue(
        name=queue_name(api["metadata"]["name"], name),
        dead_letter_name=dead_letter_queue_name(api["metadata"]["name"], name),
        topic_arn=api["status"]["inputTopicArn"],
        filter_policy={"runtime": [name]},
        visibility_timeout_seconds=int(settings["visibilityTimeoutSeconds"]),
        retention_seconds=int(settings["retentionSeconds"]),
        # Once more, for the end of a job to be told whose agent died in the last attempt.
        max_receive_count=int(settings["maxReceiveCount"]) + 1,
    )


def alarms(owner: Owner, queue: FedQueue, settings: Manifest, topic_arn: str | None) -> dict[str, Manifest]:
    """Return what tells that jobs wait too long, and that some were given up."""
    seconds = int(settings["oldestJobSeconds"])
    return {
        "oldest-job": alarm(
            owner,
            "oldest-job",
            oldest_message(queue.name),
            seconds,
            f"A job for the runtime {owner.name} waits for more than {seconds} s: are there pods, and do they work?",
            topic_arn,
            f"{queue.name}_oldest-job",
        ),
        "dead-letters": alarm(
            owner,
            "dead-letters",
            dead_letters(queue.dead_letter_name),
            0,
            f"Jobs of the runtime {owner.name} were tried {queue.max_receive_count - 1} times and given up: "
            f"they are in {queue.dead_letter_name}.",
            topic_arn,
            f"{queue.name}_dead-letters",
        ),
    }


def status(runtime: Manifest, api: Manifest, observed: dict[str, Manifest]) -> Manifest:
    """Return what people need to know of the runtime, as far as it is known."""
    owner = owner_of(runtime, api)
    dead_letter_queue = observed.get("dead-letter-queue", {}).get("status", {}).get("atProvider", {}).get("url")
    known = {
        "receiving": is_ready(observed, "subscription") and is_ready(observed, "queue-policy"),
        "queueUrl": queue_url(runtime, observed),
        "deadLetterQueueUrl": dead_letter_queue or runtime.get("status", {}).get("deadLetterQueueUrl"),
        "roleArn": owner.role_arn(pod_role_name(api["metadata"]["name"], owner.name, owner.region)),
        "configMap": config_map_name(owner.name) if "config" in observed else None,
    }
    return {name: value for name, value in known.items() if value}


def queue_url(runtime: Manifest, observed: dict[str, Manifest]) -> str | None:
    """Return the URL of the queue, once it has one.

    While a provider restarts, the queue's status may be away: pods keep what they were told.
    """
    found: str | None = observed.get("queue", {}).get("status", {}).get("atProvider", {}).get("url")
    told: str | None = observed.get("config", {}).get("data", {}).get("SQS_QUEUE_URL")
    before: str | None = runtime.get("status", {}).get("queueUrl")
    return found or told or before
