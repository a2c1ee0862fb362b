"""What is wrong, or worth saying, about values that are each valid and do not go together."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from generator import names
from generator.model import TYPE_TYPO, Config, Outputs, Runtime
from generator.section import Location, Problem, path
from generator.values import ExtraValues, Image, Karpenter

# https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html
FILTER_POLICIES_PER_TOPIC = 200

# How long a job may wait for its runtime: the default of `queue.retentionSeconds` in an InferenceRuntime's definition.
DAYS_IN_QUEUE = 4

# Exactly one version of a chart; 1.2, 1.x, ~1.2.3 and * are whatever is the newest of many.
EXACT_VERSION = re.compile(r"v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


def problems(config: Config) -> Iterator[Problem]:
    """Yield everything that keeps what is known of a configuration from going together."""
    yield from config.all_problems()
    for text in names.problems_of_stack(config.stack_name):
        yield Problem(("stackName",), text)
    yield from _partitions(config)
    yield from _regions(config)
    yield from _runtime_names(config)
    yield from _models(config)
    yield from _node_pools(config)
    if config.known("cluster") and config.cluster.production:
        yield from _floating_versions(config)


def problems_between(configs: Mapping[str, Config]) -> Iterator[str]:
    """Yield stacks of one account whose rights, given to `<stack>-*`, would reach what another one has.

    Args:
        configs: Of every cluster, by the file that it is in. Roles have no region, so neither has this.
    """
    for (file, config), (other, longer) in itertools.permutations(configs.items(), 2):
        shorter = config.stack_name
        if config.cluster.account_id != longer.cluster.account_id:
            continue
        if (longer.stack_name == shorter and file < other) or longer.stack_name.startswith(f"{shorter}-"):
            yield (
                f"{other}: stackName: {longer.stack_name!r} is or begins as {shorter!r}, the stack of {file} in the "
                f"same account, whose rights to {shorter}-* would hold for it: choose a name that begins otherwise"
            )


def _partitions(config: Config) -> Iterator[Problem]:
    if not (config.known("cluster") and config.cluster.known("region") and config.model_bucket_arn):
        return
    region, given = config.cluster.region, config.model_bucket_arn.split(":")[1]
    partition = config.cluster.partition
    if given != partition:
        yield Problem(
            ("modelBucketArn",),
            f"is in the partition {given}, and the region {region} is in {partition}: "
            f"the ARN should start with arn:{partition}:",
        )


def _regions(config: Config) -> Iterator[Problem]:
    if not (config.known("cluster") and config.cluster.known("region", "api", "alarms")):
        return
    region, api, alarms = config.cluster.region, config.cluster.api, config.cluster.alarms
    if api.known("image") and api.image and f".dkr.ecr.{region}." not in api.image:
        yield Problem(
            ("cluster", "api", "image"),
            f"is not in {region}, and Lambda runs no image of another region: copy it there",
        )
    if alarms.known("topic_arn") and alarms.topic_arn and f":sns:{region}:" not in alarms.topic_arn:
        yield Problem(
            ("cluster", "alarms", "topicArn"),
            f"is not in {region}, and alarms of CloudWatch tell no topic of another region: name one that is",
        )


def _runtime_names(config: Config) -> Iterator[Problem]:
    first: dict[str, Location] = {}
    for location, runtime in config.runtimes.items():
        if runtime.namespace in names.PLATFORM_NAMESPACES:
            yield Problem(
                (*location, "namespace"),
                f"{runtime.namespace!r} is a namespace of the platform, whose credentials a runtime's pods and whoever "
                "looks after them could reach there: choose another",
            )
        if not runtime.known("name"):
            continue
        where = _key_of(location, "name")
        for text in names.problems_of_runtime(config.stack_name, runtime.name):
            yield Problem(where, text)
        if runtime.name in first:
            yield Problem(
                where,
                f"{runtime.name!r} is the name of {path(first[runtime.name])} too, and jobs are routed by it (case and "
                "namespace make no difference): give each runtime a name of its own",
            )
        first.setdefault(runtime.name, location)


def _models(config: Config) -> Iterator[Problem]:
    first: dict[str, Location] = {}
    for location, runtime in config.runtimes.items():
        if not (runtime.model and runtime.known("type", "dynamic_model")):
            continue
        if runtime.model in first:
            yield Problem(
                (*location, "modelFilename"),
                f"{runtime.model!r} is the model of {path(first[runtime.model])} too, and a job that names it could go "
                "to either: give each runtime a model of its own, or one of them more replicas",
            )
        first.setdefault(runtime.model, location)


def _key_of(location: Location, key: str) -> Location:
    """Return the location of a runtime's key; `dynamicModelRuntime` has neither a name nor `dynamicModel` to set."""
    return location if location == ("dynamicModelRuntime",) else (*location, key)


def _node_pools(config: Config) -> Iterator[Problem]:
    """Yield runtimes that share the nodes of one that has none."""
    shared = {
        runtime.name: runtime.extra_values.karpenter.existing_node_pool
        for runtime in config.runtimes.values()
        if runtime.known("name")
    }
    for location, runtime in config.runtimes.items():
        pool = runtime.extra_values.karpenter.existing_node_pool
        if pool and shared.get(pool):
            yield Problem(
                (*location, "extraValues", "karpenter", "existingNodePool"),
                f"names {pool}, which has no nodes of its own but those of {shared[pool]}: name that, or none",
            )


def _floating_versions(config: Config) -> Iterator[Problem]:
    why = (
        "is refused because cluster.production is true: what runs would change without a commit; name an exact version"
    )
    repository = config.cluster.repository
    if config.cluster.known("repository") and repository.revision.upper() == "HEAD":
        yield Problem(
            ("cluster", "repository", "revision"),
            f"{repository.revision} is refused because cluster.production is true: it is whatever branch is the "
            "default; name a branch, tag or commit",
        )
    if (
        config.cluster.known("api")
        and config.cluster.api.known("image")
        and config.cluster.api.image.endswith(":latest")
    ):
        yield Problem(("cluster", "api", "image"), f"latest {why}")
    for location, runtime in config.runtimes.items():
        if runtime.own_chart and runtime.chart_version and not EXACT_VERSION.fullmatch(runtime.chart_version):
            yield Problem((*location, "chartVersion"), f"{runtime.chart_version} {why}, such as 1.2.3")
        for place, image in runtime.extra_values.images.items():
            for key in _keys_with_latest(image):
                yield Problem((*location, "extraValues", *place, key), f"latest {why}")


def _keys_with_latest(image: Image) -> Iterator[str]:
    # People write the tag behind the repository too. A colon before a slash is that of a port.
    if image.repository.rpartition("/")[2].partition("@")[0].partition(":")[2] == "latest":
        yield "repository"
    if image.tag == "latest":
        yield "tag"


def warnings(data: Mapping[str, Any], config: Config) -> Iterator[Problem]:
    """Yield what people should know of a valid file: what is read otherwise than written, or will not do much."""
    if data.get("stackName", config.stack_name) != config.stack_name:
        yield Problem(("stackName",), f"becomes lower-case: {config.stack_name}")
    if data.get("modelBucketArn") == "":
        yield Problem(("modelBucketArn",), "is empty: runtimes have only the models that their image has")
    yield from _short_lives(config.cluster.outputs)
    count = len(config.runtimes)
    if count == 0:
        yield Problem(("modelsRuntime",), "is empty: every job will be refused")
    if count > FILTER_POLICIES_PER_TOPIC:
        yield Problem(
            ("modelsRuntime",),
            f"has {count} runtimes, each with a filter policy on the input topic. SNS allows "
            f"{FILTER_POLICIES_PER_TOPIC} by default: ask AWS for more of the quota 'Filter policies per topic' first",
        )
    given = dict(enumerate(data["modelsRuntime"]))
    yield from _second_dynamic_runtimes(config)
    for location, runtime in config.runtimes.items():
        written = data["dynamicModelRuntime"] if location == ("dynamicModelRuntime",) else given[int(location[-1])]
        for key, text in _runtime_warnings(written, runtime):
            yield Problem((*location, *key), text)


def _short_lives(outputs: Outputs) -> Iterator[Problem]:
    for key, days, what in (
        ("retentionDays", outputs.retention_days, "record"),
        ("recordRetentionDays", outputs.record_retention_days, "record"),
        ("uploadRetentionDays", outputs.upload_retention_days, "inputs"),
    ):
        if days is not None and days <= DAYS_IN_QUEUE:
            yield Problem(
                ("cluster", "outputs", key),
                f"is no longer than the {DAYS_IN_QUEUE} days that a job may wait in its queue: its {what} could expire "
                f"before it is done; set {DAYS_IN_QUEUE + 1} or more",
            )


def _second_dynamic_runtimes(config: Config) -> Iterator[Problem]:
    dynamic = [(location, runtime) for location, runtime in config.runtimes.items() if runtime.dynamic_model]
    for location, _ in dynamic[1:]:
        first, catch_all = dynamic[0]
        yield Problem(
            _key_of(location, "dynamicModel"),
            f"{path(first)} is dynamic too and comes first: jobs that name only a model, which no other runtime "
            f"serves, go to {catch_all.name}, and here come only jobs that name this runtime",
        )


def _runtime_warnings(written: Mapping[str, Any], runtime: Runtime) -> Iterator[Problem]:
    for key, value in (("name", runtime.name), ("namespace", runtime.namespace)):
        if written.get(key, value) != value:
            routing = ", and jobs must name it so" if key == "name" else ""
            yield Problem((key,), f"becomes lower-case: {value}{routing}")
    if str(written.get("type")).lower() == TYPE_TYPO:
        yield Problem(("type",), f"{written['type']} is read as comfyui")
    if runtime.type == "comfyui" and runtime.model_filename:
        yield Problem(("modelFilename",), "does nothing: a ComfyUI workflow names its models itself")
    if runtime.type == "sdwebui" and not (runtime.model_filename or runtime.dynamic_model):
        yield Problem(
            ("modelFilename",),
            "is not set, nor is dynamicModel: the runtime serves the model that its server has by itself, to jobs that "
            "name the runtime and no model",
        )
    if runtime.dynamic_model and runtime.model_filename:
        yield Problem(("modelFilename",), "does nothing: with dynamicModel the runtime loads what a job asks for")
    if runtime.chart_repository and not runtime.own_chart:
        yield Problem(
            ("chartRepository",),
            "is where the guidance's charts are, which expect values that its CDK stack filled in: runtimes/chart is "
            "deployed instead, whatever chartVersion says; remove both",
        )
    elif runtime.chart_version and not runtime.chart_repository:
        yield Problem(("chartVersion",), "does nothing without chartRepository: the chart is this repository's own")
    for location, text in _values_warnings(runtime.extra_values):
        yield Problem(("extraValues", *location), text)


def _values_warnings(values: ExtraValues) -> Iterator[Problem]:
    yield from _node_warnings(values.karpenter)
    pods, agent = values.pods, values.pods.queue_agent
    if pods.scaling.enabled and "replicas" in pods.model_fields_set:
        yield Problem(
            (values.spelling, "replicas"), "does nothing while scaling.enabled is true: set scaling.minReplicaCount"
        )
    if pods.extra_hpa_config:
        yield Problem((values.spelling, "extraHPAConfig"), "is read as scaling.extraHPAConfig: move it there")
    if agent.command_arguments:
        instead = (
            "does nothing beside inferenceApi.commandArguments, and the agent has no arguments: remove it"
            if pods.inference_api.command_arguments
            else "is read as inferenceApi.commandArguments, since the agent has no arguments: move it there"
        )
        yield Problem((values.spelling, "queueAgent", "commandArguments"), instead)
    if agent.model_mount_path:
        yield Problem(
            (values.spelling, "queueAgent", "modelMountPath"),
            "does nothing, since the agent needs no models: set inferenceApi.modelMountPath",
        )
    if agent.drain_seconds < agent.job_timeout_seconds:
        yield Problem(
            (values.spelling, "queueAgent", "drainSeconds"),
            f"is less than the {agent.job_timeout_seconds} jobTimeoutSeconds: a job that takes longer begins again on "
            "another pod when its own has to go",
        )
    efs = pods.persistence.efs
    if efs.access_point_id and not efs.file_system_id:
        yield Problem((values.spelling, "persistence", "efs", "accessPointId"), "does nothing without fileSystemId")


def _node_warnings(karpenter: Karpenter) -> Iterator[Problem]:
    template = karpenter.node_template
    if template.ami_family == "AL2":
        # https://docs.aws.amazon.com/eks/latest/userguide/eks-ami-deprecation-faqs.html
        yield Problem(
            ("karpenter", "nodeTemplate", "amiFamily"),
            "AL2 has no images for Kubernetes 1.33 and newer: use Bottlerocket or AL2023",
        )
    if template.ami_family != "Bottlerocket" and "data_volume" in template.model_fields_set:
        yield Problem(
            ("karpenter", "nodeTemplate", "dataVolume"),
            f"does nothing, since {template.ami_family} has one volume for everything: set osVolume",
        )
    if karpenter.existing_node_pool:
        for key in ("provisioner", "node_template"):
            if key in karpenter.model_fields_set:
                yield Problem(
                    ("karpenter", karpenter.keys()[key]),
                    "does nothing beside existingNodePool, but for extraTaints: the nodes are somebody else's",
                )
