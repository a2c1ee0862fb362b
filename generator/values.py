"""`extraValues`: the Helm values of a runtime that people may set, as the three versions of the guidance spell them.

The defaults are those of runtimes/chart; they are here to be checked against and documented. Only what is set travels.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from generator.section import (
    LandsIn,
    Location,
    Matches,
    Number,
    Problem,
    Quantity,
    ResourceName,
    Section,
    TextMap,
    empty_as_nothing,
)

Resources = dict[ResourceName, Quantity]

# https://karpenter.sh/docs/concepts/disruption/: the format of both durations of a NodePool.
Duration = Annotated[str, Matches("^(([0-9]+(s|m|h))+|Never)$", "a duration such as 30s, 1h30m or Never")]


class CapacityType(Section):
    """How nodes are bought."""

    LANDS_IN = "NodePool"

    on_demand: bool = Field(True, description="Whether on-demand instances may be launched.")
    spot: bool = Field(True, description="Whether spot instances may be launched.")

    def problems(self) -> Iterator[Problem]:
        """Yield that no node could be bought."""
        if not (self.on_demand or self.spot):
            yield Problem((), "has onDemand and spot both false: no node could be launched, set one to true")


class Requirement(Section):
    """A further requirement on nodes, as in a NodePool."""

    LANDS_IN = "NodePool"

    key: str = Field(description="Label of the node, for example `karpenter.k8s.aws/instance-gpu-memory`.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How the label relates to the values."
    )
    values: tuple[str, ...] = Field((), description="Values to compare with, quoted when they are numbers.")
    min_values: Number | None = Field(None, ge=1, description="How many different values must stay possible.")


class Taint(Section):
    """A further taint of the nodes."""

    LANDS_IN = "NodePool"

    key: str = Field(description="Key of the taint.")
    value: str = Field("", description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(description="What the taint does.")


class Disruption(Section):
    """When nodes go."""

    LANDS_IN = "NodePool"

    consolidate_after: Duration = Field("30s", description="How long a node is left alone after pods came or went.")
    expire_after: Duration = Field("Never", description="Age at which a node is replaced.")


class Provisioner(Section):
    """The nodes that Karpenter launches for the runtime."""

    LANDS_IN = "NodePool"

    labels: TextMap = Field({}, description="Further labels of the nodes.")
    annotations: TextMap = Field({}, description="Further annotations of the nodes.")
    capacity_type: CapacityType = Field(default_factory=CapacityType, description="How nodes are bought.")
    instance_type: tuple[
        Annotated[str, Matches(r"^[a-z0-9-]+\.[a-z0-9-]+$", "an EC2 instance type such as g5.xlarge")], ...
    ] = Field(("g5.xlarge", "g5.2xlarge"), min_length=1, description="Instance types that may be launched.")
    extra_requirements: tuple[Requirement, ...] = Field((), description="Further requirements on nodes.")
    extra_taints: tuple[Taint, ...] = Field((), description="Further taints of the nodes.")
    resource_limits: Resources = Field(
        {"nvidia.com/gpu": "100"}, description="What all nodes of the runtime may have together; no more are launched."
    )
    consolidation: bool = Field(
        True, description="Whether nodes that are used little are replaced too, and not only empty ones."
    )
    disruption: Disruption = Field(default_factory=Disruption, description="When nodes go.")


SnapshotId = Annotated[str, Matches("^snap-[0-9a-f]+$", "the id of a snapshot, such as snap-0123456789")]


class Volume(Section):
    """An EBS volume of a node."""

    LANDS_IN = "EC2NodeClass"

    volume_size: Quantity | None = Field(None, description="Size, such as `80Gi`.")
    volume_type: Literal["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"] | None = Field(
        None, description="Type of the volume."
    )
    delete_on_termination: bool = Field(True, description="Whether the volume goes with its node.")
    # Bounds of both: the guidance's config.schema.yaml.
    iops: Number | None = Field(None, ge=3000, le=16000, description="Operations per second.")
    throughput: Number | None = Field(None, ge=125, le=1000, description="MiB per second.")
    snapshot_id: Annotated[
        SnapshotId | None, BeforeValidator(empty_as_nothing, json_schema_input_type=SnapshotId | Literal[""] | None)
    ] = Field(
        None,
        alias="snapshotID",
        description="Snapshot that the volume starts from, with the images in it. Needs `amiFamily: Bottlerocket`.",
    )


class NodeTemplate(Section):
    """How a node of the runtime is set up."""

    LANDS_IN = "EC2NodeClass"
    POPULATED: ClassVar = dict.fromkeys(("iamRole", "instanceProfile", "securityGroupSelector", "subnetSelector"), "")

    tags: TextMap = Field({}, description="Further tags of instances and volumes; they win over `cluster.tags`.")
    ami_family: Literal["Bottlerocket", "AL2023", "AL2"] = Field("Bottlerocket", description="The nodes' system.")
    instance_store_policy: Literal["RAID0"] = Field(
        "RAID0", description="How the disks that come with an instance are used."
    )
    os_volume: Volume = Field(default_factory=Volume, description="The volume of the system (`/dev/xvda`).")
    data_volume: Volume = Field(
        default_factory=Volume, description="The volume of images and containers (`/dev/xvdb`)."
    )
    user_data: str = Field("", description="User data of the instances, in the form that their system takes.")

    def problems(self) -> Iterator[Problem]:
        """Yield snapshots that the system of the nodes makes no use of."""
        for key, volume in {"osVolume": self.os_volume, "dataVolume": self.data_volume}.items():
            if volume.snapshot_id and self.ami_family != "Bottlerocket":
                yield Problem(
                    (key, "snapshotID"),
                    f"needs amiFamily: Bottlerocket, and it is {self.ami_family}: only Bottlerocket keeps images on a "
                    "volume of their own, which a snapshot can fill",
                )


class Karpenter(Section):
    """The runtime's nodes."""

    provisioner: Provisioner = Field(default_factory=Provisioner, description="Which nodes are launched.")
    node_template: NodeTemplate = Field(default_factory=NodeTemplate, description="How a node is set up.")


class Scaling(Section):
    """How many replicas the runtime has."""

    LANDS_IN = "ScaledObject"

    enabled: bool = Field(True, description="Whether KEDA decides the number of replicas.")
    queue_length: Number = Field(
        10, ge=1, description="Queued jobs for each replica: with 10, 25 jobs ask for 3 replicas."
    )
    cooldown_period: Number = Field(60, ge=1, description="Seconds after the last job before the last replica goes.")
    max_replica_count: Number = Field(20, ge=0, description="Replicas at most.")
    min_replica_count: Number = Field(
        0, ge=0, description="Replicas at least; with 0 the GPUs go when there is no job."
    )
    polling_interval: Number = Field(1, ge=1, description="Seconds between two looks at the queue.")
    scale_on_in_flight: bool = Field(
        False, description="Whether jobs that an agent holds count as well as those that wait."
    )
    extra_hpa_config: dict[str, Any] = Field(
        {}, alias="extraHPAConfig", description="`behavior` of the HorizontalPodAutoscaler that KEDA makes."
    )

    def problems(self) -> Iterator[Problem]:
        """Yield that the fewest replicas are more than the most."""
        if self.known("min_replica_count", "max_replica_count") and self.min_replica_count > self.max_replica_count:
            yield Problem(
                ("minReplicaCount",),
                f"asks for at least {self.min_replica_count} replicas and at most {self.max_replica_count}: "
                "minReplicaCount may not be more than maxReplicaCount",
            )


class Image(Section):
    """A container image."""

    LANDS_IN = "Deployment"

    repository: str = Field("", description="Registry and name of the image, if not the chart's own.")
    tag: str = Field("", description="Tag of the image. `latest` is refused where `cluster.production` is true.")


class ResourceRequirements(Section):
    """What a container gets."""

    LANDS_IN = "Deployment"

    limits: Resources = Field({}, description="What the container may use at most.")
    requests: Resources = Field({}, description="What the node must have free for the container.")


class EnvVar(Section):
    """An environment variable of a container, as Kubernetes writes it."""

    LANDS_IN = "Deployment"

    name: str = Field(min_length=1, description="Name of the variable.")
    value: str = Field("", description="Value of the variable, quoted when it is a number or true or false.")
    value_from: dict[str, Any] | None = Field(None, description="Where Kubernetes takes the value from.")


def _map_as_list(value: object) -> object:
    return [{"name": name, "value": text} for name, text in value.items()] if isinstance(value, dict) else value


# The guidance's schema asks for a map and its templates for a list: both are taken.
ExtraEnv = Annotated[
    tuple[EnvVar, ...],
    BeforeValidator(_map_as_list, json_schema_input_type=tuple[EnvVar, ...] | TextMap),
]


class Container(Section):
    """What both containers of a runtime's pod have in common."""

    LANDS_IN = "Deployment"

    image: Image = Field(default_factory=Image, description="The image.")
    extra_env: ExtraEnv = Field((), description="Further environment variables: a map, or a list of EnvVar.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When the image is pulled."
    )
    resources: ResourceRequirements = Field(
        default_factory=ResourceRequirements, description="What the container gets; each key replaces the chart's."
    )


class InferenceApi(Container):
    """The container of the inference server."""

    POPULATED: ClassVar = {"modelFilename": "modelFilename of the runtime itself"}

    model_mount_path: str = Field("/opt/ml/code/models", description="Where the models are mounted.")
    command_arguments: str = Field("", description="Further arguments of the server (`EXTRA_CMD_ARG`).")


class XRayDaemon(Section):
    """The X-Ray daemon."""

    image: Image = Field(default_factory=Image, description="The image.")


class XRay(Section):
    """Tracing."""

    LANDS_IN = "Deployment"

    enabled: bool = Field(True, description="Whether the pod has an X-Ray daemon that traces are sent to.")
    daemon: XRayDaemon = Field(default_factory=XRayDaemon, description="The daemon.")


class QueueAgent(Container):
    """The container of the queue agent."""

    POPULATED: ClassVar = {
        **dict.fromkeys(("s3Bucket", "snsTopicArn", "sqsQueueUrl"), ""),
        "dynamicModel": "dynamicModel of the runtime itself",
    }
    OLDER_SPELLINGS: ClassVar = {"XRay": "xray"}

    command_arguments: str = Field(
        "", description="Read as `inferenceApi.commandArguments` where that is not set: the agent has no arguments."
    )
    model_mount_path: str = Field("", description="Does nothing: the agent needs no models.")
    xray: XRay = Field(default_factory=XRay, description="Tracing.")
    older_xray: XRay = Field(default_factory=XRay, alias="XRay", description="Older spelling of `xray`.")

    @property
    def xray_spelling(self) -> Literal["xray", "XRay"]:
        """Which of its two keys tracing is set under."""
        return "XRay" if "older_xray" in self.model_fields_set else "xray"

    @property
    def tracing(self) -> XRay:
        """What is set of tracing, however it is spelled."""
        return self.xray if self.xray_spelling == "xray" else self.older_xray


class PersistenceS3(Section):
    """Models from the model bucket."""

    LANDS_IN = "PersistentVolume"
    POPULATED: ClassVar = {"modelBucket": "modelBucketArn at the top of the file"}

    enabled: bool = Field(True, description="Whether the volume is the model bucket, mounted read-only.")


class Persistence(Section):
    """Where models come from."""

    LANDS_IN = "PersistentVolumeClaim"

    enabled: bool = Field(
        True, description="Whether models come from a volume; false by itself where there is no model bucket."
    )
    existing_claim: str = Field("", description="A claim of your own to use instead of making one.")
    existing_volume: str = Field("", description="A volume of your own that the claim is for.")
    labels: TextMap = Field({}, description="Further labels of the claim.")
    annotations: TextMap = Field({}, description="Further annotations of the claim.")
    storage_class: str = Field("", description="Storage class of the claim; `-` asks for none.")
    size: Quantity = Field("2Ti", description="Size of the claim, which S3 does not look at.")
    access_modes: tuple[Literal["ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce", "ReadWriteOncePod"], ...] = Field(
        ("ReadWriteMany",), min_length=1, description="Access modes of the claim."
    )
    s3: PersistenceS3 = Field(default_factory=PersistenceS3, description="Models from the model bucket.")


class RuntimeValues(Section):
    """The runtime's pods."""

    LANDS_IN = "Deployment"
    POPULATED: ClassVar = {"serviceAccountName": "", "type": "type of the runtime itself"}

    labels: TextMap = Field({}, description="Further labels of the pods.")
    annotations: TextMap = Field({}, description="Further annotations of the pods.")
    replicas: Number = Field(1, ge=0, description="Replicas where `scaling.enabled` is false.")
    scaling: Scaling = Field(default_factory=Scaling, description="How many replicas there are.")
    extra_hpa_config: Annotated[dict[str, Any], LandsIn("ScaledObject")] = Field(
        {}, alias="extraHPAConfig", description="Older place of `scaling.extraHPAConfig`."
    )
    inference_api: InferenceApi = Field(default_factory=InferenceApi, description="The inference server.")
    queue_agent: QueueAgent = Field(default_factory=QueueAgent, description="The queue agent.")
    persistence: Persistence = Field(default_factory=Persistence, description="Where models come from.")

    def problems(self) -> Iterator[Problem]:
        """Yield that two places of one setting say different things."""
        known = self.known("extra_hpa_config") and self.scaling.known("extra_hpa_config")
        here, there = self.extra_hpa_config, self.scaling.extra_hpa_config
        if known and here and there and here != there:
            yield Problem(
                ("extraHPAConfig",), "is the older place of scaling.extraHPAConfig, which is set otherwise: keep one"
            )


class ExtraValues(Section):
    """The Helm values of a runtime that people may set."""

    OLDER_SPELLINGS: ClassVar = {"sdWebuiInferenceApi": "runtime"}
    POPULATED: ClassVar = {"global": ""}
    MISPLACED: ClassVar = {
        **{
            key: f"extraValues.runtime.{key} or extraValues.sdWebuiInferenceApi.{key}"
            for key in ("inferenceApi", "persistence", "queueAgent", "scaling")
        },
        **{key: f"extraValues.karpenter.{key}" for key in ("nodeTemplate", "provisioner")},
    }

    karpenter: Karpenter = Field(default_factory=Karpenter, description="The runtime's nodes.")
    runtime: RuntimeValues = Field(default_factory=RuntimeValues, description="The runtime's pods.")
    sd_webui_inference_api: RuntimeValues = Field(
        default_factory=RuntimeValues, description="Older spelling of `runtime`."
    )

    @property
    def spelling(self) -> Literal["runtime", "sdWebuiInferenceApi"]:
        """Which of its two keys the runtime's pods are set under."""
        return "sdWebuiInferenceApi" if "sd_webui_inference_api" in self.model_fields_set else "runtime"

    @property
    def pods(self) -> RuntimeValues:
        """What is set of the runtime's pods, however it is spelled."""
        return self.runtime if self.spelling == "runtime" else self.sd_webui_inference_api

    @property
    def images(self) -> dict[Location, Image]:
        """Every image, by where it is below `extraValues`."""
        agent = self.pods.queue_agent
        return {
            (self.spelling, "inferenceApi", "image"): self.pods.inference_api.image,
            (self.spelling, "queueAgent", "image"): agent.image,
            (self.spelling, "queueAgent", agent.xray_spelling, "daemon", "image"): agent.tracing.daemon.image,
        }

    def given(self) -> dict[str, Any]:
        """Return what is set, in the chart's spelling: `karpenter` and `runtime`. It is the caller's to change."""
        given = self.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
        pods = given.pop(self.spelling, {})
        agent = pods.get("queueAgent", {})
        if "XRay" in agent:
            agent["xray"] = agent.pop("XRay")
        agent.pop("modelMountPath", None)
        if (arguments := agent.pop("commandArguments", "")) and not self.pods.inference_api.command_arguments:
            pods.setdefault("inferenceApi", {})["commandArguments"] = arguments
        if behavior := pods.pop("extraHPAConfig", {}):
            pods.setdefault("scaling", {})["extraHPAConfig"] = behavior
        return {"karpenter": given.get("karpenter", {}), "runtime": pods}
