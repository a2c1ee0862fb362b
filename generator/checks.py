"""What is wrong, or worth saying, about values that are each valid and do not go together."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from generator import names
from generator.model import (
    DEFAULT_MODEL,
    DEFAULT_STACK,
    TYPE_TYPO,
    Cluster,
    Config,
    DynamicModelRuntime,
    ModelBucketArn,
    Runtime,
    StackName,
)
from generator.section import Location, Problem, path

# https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html
FILTER_POLICIES_PER_TOPIC = 200

# The guidance's own charts: where its code looks for them, and where its documents say they are.
GUIDANCE_CHARTS = ("public.ecr.aws/bingjiao/charts", "aws-samples.github.io/stable-diffusion-on-eks")

# Of the keys of a runtime, those that must be valid for it to be compared with others.
IDENTITY = ("enabled", "name", "type", "modelFilename", "dynamicModel")


@dataclass(frozen=True)
class Parts:
    """What is compared: of a valid file everything, of another whatever is valid by itself.

    So one run tells people everything that is wrong, and not first this and then that.
    """

    stack: str
    model_bucket_arn: str
    cluster: Cluster | None
    runtimes: Mapping[Location, Runtime]

    @classmethod
    def of_config(cls, config: Config) -> "Parts":
        """Return the parts of a valid file."""
        return cls(config.stack_name, config.model_bucket_arn, config.cluster, config.runtimes)

    @classmethod
    def of_invalid(cls, data: Mapping[str, Any]) -> "Parts":
        """Return what is valid of a file that, as a whole, is not."""
        runtimes: dict[Location, Runtime] = {}
        listed = data.get("modelsRuntime")
        for index, item in enumerate(listed if isinstance(listed, list) else []):
            if runtime := _valid(Runtime, item) or _valid(Runtime, _identity(item)):
                runtimes["modelsRuntime", index] = runtime
        item = data.get("dynamicModelRuntime")
        dynamic = _valid(DynamicModelRuntime, item) or _valid(DynamicModelRuntime, _identity(item))
        if dynamic and dynamic.enabled:
            runtimes["dynamicModelRuntime",] = dynamic.runtime
        return cls(
            _valid(StackName, data.get("stackName")) or DEFAULT_STACK,
            _valid(ModelBucketArn, data.get("modelBucketArn")) or "",
            _valid(Cluster, data.get("cluster")),
            runtimes,
        )


def _valid(kind: Any, value: object) -> Any:
    with suppress(ValidationError):
        return TypeAdapter(kind).validate_python(value)
    return None


def _identity(item: object) -> object:
    return {key: item[key] for key in IDENTITY if key in item} if isinstance(item, dict) else item


def problems(parts: Parts) -> Iterator[Problem]:
    """Yield everything that keeps the parts from going together."""
    for text in names.problems_of_stack(parts.stack):
        yield Problem(("stackName",), text)
    yield from _partitions(parts)
    yield from _runtime_names(parts)
    yield from _models(parts)
    if parts.cluster and parts.cluster.production:
        yield from _floating_tags(parts)


def _partitions(parts: Parts) -> Iterator[Problem]:
    if not (parts.cluster and parts.model_bucket_arn):
        return
    region, given = parts.cluster.region, parts.model_bucket_arn.split(":")[1]
    partition = {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rsplit("-", 2)[0], "aws")
    if given != partition:
        yield Problem(
            ("modelBucketArn",),
            f"is in the partition {given}, and the region {region} is in {partition}: "
            f"the ARN should start with arn:{partition}:",
        )


def _runtime_names(parts: Parts) -> Iterator[Problem]:
    first: dict[str, Location] = {}
    for location, runtime in parts.runtimes.items():
        where = _key_of(location, "name")
        for text in names.problems_of_runtime(parts.stack, runtime.name):
            yield Problem(where, text)
        if runtime.name in first:
            yield Problem(
                where,
                f"{runtime.name!r} is the name of {path(first[runtime.name])} too, and jobs are routed by it (case and "
                "namespace make no difference): give each runtime a name of its own",
            )
        first.setdefault(runtime.name, location)


def _models(parts: Parts) -> Iterator[Problem]:
    first: dict[str, Location] = {}
    dynamic: Location | None = None
    for location, runtime in parts.runtimes.items():
        if runtime.dynamic_model:
            if dynamic:
                yield Problem(
                    _key_of(location, "dynamicModel"),
                    f"{path(dynamic)} is dynamic already, and a job whose model no other runtime serves could go to "
                    "either: keep one dynamic runtime",
                )
            dynamic = dynamic or location
        elif model := runtime.model:
            if model in first:
                yield Problem(
                    _key_of(location, "modelFilename"),
                    f"{model!r} is the model of {path(first[model])} too, and a job that names it could go to either: "
                    "give each runtime a model of its own, or one of them more replicas",
                )
            first.setdefault(model, location)


def _key_of(location: Location, key: str) -> Location:
    """Return the location of a runtime's key; `dynamicModelRuntime` has neither a name nor a model to set."""
    return location if location == ("dynamicModelRuntime",) else (*location, key)


def _floating_tags(parts: Parts) -> Iterator[Problem]:
    for location, runtime in parts.runtimes.items():
        for place, image in runtime.extra_values.images.items():
            if image.tag == "latest":
                yield Problem(
                    (*location, "extraValues", *place, "tag"),
                    "latest is refused because cluster.production is true: what runs would change without a commit; "
                    "name an exact version",
                )


def warnings(data: Mapping[str, Any], config: Config) -> Iterator[Problem]:
    """Yield what people should know of a valid file: what is read otherwise than written, or will not do much."""
    if data.get("stackName", config.stack_name) != config.stack_name:
        yield Problem(("stackName",), f"becomes lower-case: {config.stack_name}")
    if data.get("modelBucketArn") == "":
        yield Problem(("modelBucketArn",), "is empty: runtimes have only the models that their image has")
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
    for location, runtime in config.runtimes.items():
        written = data["dynamicModelRuntime"] if location == ("dynamicModelRuntime",) else given[int(location[-1])]
        for key, text in _runtime_warnings(written, runtime):
            yield Problem((*location, *key), text)


def _runtime_warnings(written: Mapping[str, Any], runtime: Runtime) -> Iterator[Problem]:
    for key, value in (("name", runtime.name), ("namespace", runtime.namespace)):
        if written.get(key, value) != value:
            routing = ", and jobs must name it so" if key == "name" else ""
            yield Problem((key,), f"becomes lower-case: {value}{routing}")
    if str(written.get("type")).lower() == TYPE_TYPO:
        yield Problem(("type",), f"{written['type']} is read as comfyui")
    if runtime.model and not runtime.model_filename:
        yield Problem(("modelFilename",), f"is not set, nor is dynamicModel: the runtime serves {DEFAULT_MODEL}")
    if runtime.dynamic_model and runtime.model_filename:
        yield Problem(("modelFilename",), "does nothing: with dynamicModel the runtime loads what a job asks for")
    if runtime.chart_version and not runtime.chart_repository:
        yield Problem(("chartVersion",), "does nothing without chartRepository: the chart is this repository's own")
    if any(chart in runtime.chart_repository for chart in GUIDANCE_CHARTS):
        yield Problem(
            ("chartRepository",),
            "is where the guidance's charts are, which expect values that its CDK stack filled in: remove it, unless "
            "the chart there takes the values of runtimes/chart",
        )
    values = runtime.extra_values
    if values.karpenter.node_template.ami_family == "AL2":
        # https://docs.aws.amazon.com/eks/latest/userguide/eks-ami-deprecation-faqs.html
        yield Problem(
            ("extraValues", "karpenter", "nodeTemplate", "amiFamily"),
            "AL2 has no images for Kubernetes 1.33 and newer: use Bottlerocket or AL2023",
        )
    if values.pods.scaling.enabled and "replicas" in values.pods.model_fields_set:
        yield Problem(
            ("extraValues", values.spelling, "replicas"),
            "does nothing while scaling.enabled is true: set scaling.minReplicaCount",
        )
