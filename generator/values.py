"""`extraValues`: the Helm values of a runtime that people may set, as the three versions of the guidance spell them.

The defaults are those of runtimes/chart, whose values.yaml and values.schema.json are made from here. Only what is set
travels.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from generator.section import (
    LandsIn,
    Location,
    Matches,
    Number,
    Older,
    Populated,
    Problem,
    Quantity,
    ResourceName,
    Section,
    TextMap,
    nothing_as_empty,
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


class Budget(Section):
    """How many nodes may go at once."""

    LANDS_IN = "NodePool"

    nodes: Annotated[str, Matches("^((100|[0-9]{1,2})%|[0-9]+)$", "a number or a percentage, in quotes")] = Field(
        description="Nodes at most, as a number or a percentage of all."
    )
    reasons: tuple[Literal["Empty", "Underutilized", "Drifted"], ...] = Field(
        (), description="What the budget is for; without any, for all."
    )
    schedule: str | None = Field(None, description="When the budget begins to hold, as in a crontab, in UTC.")
    duration: Annotated[str, Matches("^([0-9]+h)?([0-9]+m)?$", "hours and minutes such as 8h or 1h30m")] | None = Field(
        None, description="How long it holds then."
    )


class Disruption(Section):
    """When nodes go."""

    LANDS_IN = "NodePool"

    consolidate_after: Duration = Field("30s", description="How long a node is left alone after pods came or went.")
    expire_after: Duration = Field("Never", description="Age at which a node is replaced.")
    termination_grace_period: Annotated[str, Matches("^(([0-9]+(s|m|h))+)?$", "a duration such as 30s or 1h30m")] = (
        Field(
            "",
            description="How long a node that has to go waits for the jobs on it; without one, an hour more than a "
            "pod may take to end.",
        )
    )
    budgets: tuple[Budget, ...] = Field(
        (Budget(nodes="100%", reasons=("Empty",)), Budget(nodes="10%", reasons=("Drifted", "Underutilized"))),
        description="How many nodes may go at once: all that are empty, and of others a few.",
    )


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


SnapshotId = Annotated[str, Matches("^$|^snap-[0-9a-f]+$", "the id of a snapshot, such as snap-0123456789")]


# What Karpenter's EC2NodeClass takes.
VolumeSize = Annotated[str, Matches("^$|^[1-9][0-9]*(Gi|G|Ti|T)$", "a size such as 80Gi")]


# https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html and Karpenter's EC2NodeClass.
MIN_INITIALIZATION_RATE = 100


class Volume(Section):
    """An EBS volume of a node."""

    LANDS_IN = "EC2NodeClass"

    volume_size: VolumeSize = Field("80Gi", description="Size, such as `80Gi`.")
    volume_type: Literal["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"] = Field(
        "gp3", description="Type of the volume."
    )
    delete_on_termination: bool = Field(True, description="Whether the volume goes with its node.")
    # Bounds of both: the guidance's config.schema.yaml.
    iops: Number = Field(4000, ge=3000, le=16000, description="Operations per second, of gp3, io1 and io2.")
    throughput: Number = Field(1000, ge=125, le=1000, description="MiB per second, of gp3.")
    snapshot_id: Annotated[SnapshotId, BeforeValidator(nothing_as_empty, json_schema_input_type=SnapshotId | None)] = (
        Field(
            "",
            alias="snapshotID",
            description="Snapshot that the volume starts from, with the images in it. Needs `amiFamily: Bottlerocket`.",
        )
    )

    volume_initialization_rate: Number = Field(
        0,
        ge=0,
        le=300,
        description="MiB per second, from 100, at which EBS brings the snapshot's blocks, billed by the GiB; with 0 "
        "they come when they are read. Needs `snapshotID`.",
    )

    def problems(self) -> Iterator[Problem]:
        """Yield a rate that EBS does not have, or that nothing is read at."""
        key, rate = ("volumeInitializationRate",), self.volume_initialization_rate
        if self.known("volume_initialization_rate") and 0 < rate < MIN_INITIALIZATION_RATE:
            yield Problem(key, f"should be 0, or from {MIN_INITIALIZATION_RATE} to 300, not {rate}")
        elif self.known("volume_initialization_rate", "snapshot_id") and rate and not self.snapshot_id:
            yield Problem(key, "is the rate at which a snapshot is brought: set snapshotID, or remove it")


class OsVolume(Volume):
    """The EBS volume of a node's system."""

    volume_size: VolumeSize = Field(
        "", description="Size; without one 10Gi for Bottlerocket, and 100Gi for a system that has no other volume."
    )
    iops: Number = Field(3000, ge=3000, le=16000, description="Operations per second, of gp3, io1 and io2.")
    throughput: Number = Field(125, ge=125, le=1000, description="MiB per second, of gp3.")


class NodeTemplate(Section):
    """How a node of the runtime is set up."""

    LANDS_IN = "EC2NodeClass"
    POPULATED: ClassVar = {
        "iamRole": Populated("IAM role of the nodes."),
        "instanceProfile": Populated("Instance profile of the nodes, in the place of a role."),
        "securityGroupSelector": Populated("Tags by which the nodes' security groups are found.", {}),
        "subnetSelector": Populated("Tags by which the nodes' subnets are found.", {}),
    }

    tags: TextMap = Field({}, description="Further tags of instances and volumes; they win over `cluster.tags`.")
    ami_family: Literal["Bottlerocket", "AL2023", "AL2"] = Field("Bottlerocket", description="The nodes' system.")
    ami_version: str = Field(
        "latest",
        min_length=1,
        description="Version of the system, such as `v1.53.0`; with `latest` nodes are replaced when there is a newer "
        "one.",
    )
    instance_store_policy: Literal["RAID0"] = Field(
        "RAID0",
        description="How the disks that come with an instance are used. They hide what a snapshot holds, so with one "
        "they are left alone.",
    )
    os_volume: OsVolume = Field(default_factory=OsVolume, description="The volume of the system (`/dev/xvda`).")
    data_volume: Volume = Field(
        default_factory=Volume, description="The volume of images and containers (`/dev/xvdb`), of Bottlerocket alone."
    )
    user_data: str = Field(
        "",
        description="User data of the instances, in the form that their system takes; a template of Helm. Without any, "
        "Bottlerocket pulls images in parallel, unless there is a snapshot.",
    )

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

    existing_node_pool: Annotated[
        str, Matches("^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", "the name of a NodePool"), LandsIn("Deployment")
    ] = Field(
        "",
        description="NodePool to share, in the place of one of its own: that of the runtime with this name, or any "
        "that has its taints. Of the rest of `karpenter` only `extraTaints` count then, which pods tolerate.",
    )
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

    repository: str = Field(
        "", description="Registry and name of the image; without one, the project's own in `global.imageRegistry`."
    )
    tag: str = Field(
        "",
        description="Tag or digest (`sha256:…`) of the image; without one, the version of the chart. `latest` is "
        "refused where `cluster.production` is true.",
    )


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

    POPULATED: ClassVar = {
        "modelFilename": Populated(
            "The one model that the runtime serves.", instead="modelFilename of the runtime itself"
        )
    }

    model_mount_path: str = Field("/opt/ml/code/models", description="Where the models are mounted.")
    command_arguments: str = Field("", description="Further arguments of the server (`EXTRA_CMD_ARG`).")
    resources: ResourceRequirements = Field(
        ResourceRequirements(
            limits={"nvidia.com/gpu": "1"}, requests={"nvidia.com/gpu": "1", "cpu": "2500m", "memory": "6Gi"}
        ),
        description="What the container gets; each key replaces the chart's.",
    )
    startup_seconds: Number = Field(
        1200, ge=1, description="How long the server may take to answer after its start, the load of a model included."
    )
    writable_paths: tuple[Annotated[str, Matches("^/.+$", "an absolute path")], ...] = Field(
        ("/tmp",),  # noqa: S108 (in the container)
        description="Folders that the server writes to; they are empty at first, and all else is read-only.",
    )
    security_context: dict[str, Any] = Field(
        {}, description="What is to be different in the container's `securityContext`, for images that need it."
    )


class XRayDaemon(Section):
    """The X-Ray daemon."""

    image: Image = Field(
        Image(repository="public.ecr.aws/xray/aws-xray-daemon", tag="3.3.14"), description="The image."
    )


class XRay(Section):
    """Tracing."""

    LANDS_IN = "Deployment"

    enabled: bool = Field(True, description="Whether the pod has an X-Ray daemon that traces are sent to.")
    daemon: XRayDaemon = Field(default_factory=XRayDaemon, description="The daemon.")


class QueueAgent(Container):
    """The container of the queue agent."""

    POPULATED: ClassVar = {
        "dynamicModel": Populated(
            "Whether a job may ask for any model.", default=False, instead="dynamicModel of the runtime itself"
        ),
        "s3Bucket": Populated("Bucket of pictures and results, in the place of that in the runtime's ConfigMap."),
        "snsTopicArn": Populated("Topic of notices, in the place of that in the runtime's ConfigMap."),
        "sqsQueueUrl": Populated("Queue of jobs, in the place of that in the runtime's ConfigMap."),
    }
    OLDER_SPELLINGS: ClassVar = {"XRay": "xray"}

    resources: ResourceRequirements = Field(
        ResourceRequirements(limits={"memory": "2Gi"}, requests={"cpu": "500m", "memory": "512Mi"}),
        description="What the container gets; each key replaces the chart's.",
    )
    job_timeout_seconds: Number = Field(600, ge=1, description="Longest inference; then it is interrupted and fails.")
    drain_seconds: Number = Field(
        600, ge=0, description="What a running job is given to end when its pod has to go; then it is another agent's."
    )
    finish_seconds: Number = Field(
        300,
        ge=1,
        description="How long a finished job's result is offered to AWS. The pod's grace period follows both.",
    )
    otlp_endpoint: str = Field(
        "", description="Where traces are sent by OTLP over HTTP, in the place of the X-Ray daemon."
    )
    xray: XRay = Field(default_factory=XRay, description="Tracing.")
    command_arguments: Annotated[str, Older()] = Field(
        "", description="Read as `inferenceApi.commandArguments` where that is not set: the agent has no arguments."
    )
    model_mount_path: Annotated[str, Older()] = Field("", description="Does nothing: the agent needs no models.")
    older_xray: Annotated[XRay, Older()] = Field(
        default_factory=XRay, alias="XRay", description="Older spelling of `xray`."
    )

    def problems(self) -> Iterator[Problem]:
        """Yield variables that would say something else than what the pod's grace period is made of."""
        if not self.known("extra_env"):
            return
        for name in ("job_timeout_seconds", "drain_seconds", "finish_seconds"):
            if name.upper() in {variable.name for variable in self.extra_env if variable.known("name")}:
                yield Problem(("extraEnv",), f"has {name.upper()}: set queueAgent.{self.keys()[name]} instead")

    @property
    def grace_seconds(self) -> int:
        """How long a pod may take to end: its job, what is to be stored, and a minute to give back the rest."""
        return self.drain_seconds + self.finish_seconds + 60

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
    POPULATED: ClassVar = {
        "modelBucket": Populated("Bucket that models are in.", instead="modelBucketArn at the top of the file")
    }

    enabled: bool = Field(True, description="Whether the volume is the model bucket, mounted read-only.")


class PersistenceEfs(Section):
    """Models from an EFS file system."""

    LANDS_IN = "PersistentVolume"

    file_system_id: Annotated[str, Matches("^$|^fs-[0-9a-f]+$", "the id of a file system, such as fs-0123456789")] = (
        Field("", description="The file system that models are in, in the place of the model bucket.")
    )
    access_point_id: Annotated[
        str, Matches("^$|^fsap-[0-9a-f]+$", "the id of an access point, such as fsap-0123456789")
    ] = Field("", description="Access point of the file system, if it is to be used by one.")


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
        ("ReadOnlyMany",), min_length=1, description="Access modes of the claim. Pods only ever read."
    )
    s3: PersistenceS3 = Field(default_factory=PersistenceS3, description="Models from the model bucket.")
    efs: PersistenceEfs = Field(default_factory=PersistenceEfs, description="Models from an EFS file system.")


class NetworkPolicy(Section):
    """Whom the pods may talk to."""

    LANDS_IN = "NetworkPolicy"

    enabled: bool = Field(
        True, description="Whether only the agent's metrics can be reached, and only names, AWS and public addresses."
    )
    extra_egress: tuple[dict[str, Any], ...] = Field(
        (), description="Further `egress` rules, as Kubernetes writes them, for inputs from private addresses."
    )


class PodDisruptionBudget(Section):
    """How many pods may be evicted at once."""

    LANDS_IN = "PodDisruptionBudget"

    enabled: bool = Field(True, description="Whether there is a limit.")
    max_unavailable: int | str = Field(1, description="Pods at most, as a number or a percentage.")


class PodMonitor(Section):
    """How Prometheus finds the agents."""

    LANDS_IN = "PodMonitor"

    enabled: bool = Field(False, description="Whether there is a PodMonitor, which the Prometheus operator reads.")
    labels: TextMap = Field({}, description="Further labels, by which a Prometheus may choose.")
    interval: Annotated[str, Matches("^([0-9]+(ms|s|m|h))+$", "a duration such as 30s")] = Field(
        "30s", description="How often metrics are read."
    )


class Dashboard(Section):
    """A dashboard of the agents' metrics."""

    LANDS_IN = "ConfigMap"

    enabled: bool = Field(False, description="Whether there is a ConfigMap with a dashboard for Grafana.")
    labels: TextMap = Field({"grafana_dashboard": "1"}, description="Labels, by which Grafana's sidecar finds it.")


class Monitoring(Section):
    """What watches the runtime."""

    pod_monitor: PodMonitor = Field(default_factory=PodMonitor, description="How Prometheus finds the agents.")
    dashboard: Dashboard = Field(default_factory=Dashboard, description="A dashboard of the agents' metrics.")


class RuntimeValues(Section):
    """The runtime's pods."""

    LANDS_IN = "Deployment"
    POPULATED: ClassVar = {
        "serviceAccountName": Populated("Service account of the pods, if not `<runtime>-inference`."),
        "type": Populated(
            "What the inference server speaks.", "sdwebui", "type of the runtime itself", ("sdwebui", "comfyui")
        ),
    }

    labels: TextMap = Field({}, description="Further labels of the pods.")
    annotations: TextMap = Field({}, description="Further annotations of the pods.")
    replicas: Number = Field(1, ge=0, description="Replicas where `scaling.enabled` is false.")
    scaling: Scaling = Field(default_factory=Scaling, description="How many replicas there are.")
    extra_hpa_config: Annotated[dict[str, Any], LandsIn("ScaledObject"), Older()] = Field(
        {}, alias="extraHPAConfig", description="Older place of `scaling.extraHPAConfig`."
    )
    inference_api: InferenceApi = Field(default_factory=InferenceApi, description="The inference server.")
    queue_agent: QueueAgent = Field(default_factory=QueueAgent, description="The queue agent.")
    persistence: Persistence = Field(default_factory=Persistence, description="Where models come from.")
    pod_security_context: dict[str, Any] = Field(
        {}, description="What is to be different in the pods' `securityContext`, for images that need it."
    )
    network_policy: NetworkPolicy = Field(default_factory=NetworkPolicy, description="Whom the pods may talk to.")
    pod_disruption_budget: PodDisruptionBudget = Field(
        default_factory=PodDisruptionBudget, description="How many pods may be evicted at once."
    )
    monitoring: Monitoring = Field(default_factory=Monitoring, description="What watches the runtime.")

    def problems(self) -> Iterator[Problem]:
        """Yield that two places of one setting say different things."""
        known = self.known("extra_hpa_config") and self.scaling.known("extra_hpa_config")
        here, there = self.extra_hpa_config, self.scaling.extra_hpa_config
        if known and here and there and here != there:
            yield Problem(
                ("extraHPAConfig",), "is the older place of scaling.extraHPAConfig, which is set otherwise: keep one"
            )


# Seconds of each unit of a duration.
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(duration: Duration) -> int:
    """Return the length of a duration, such as 90 of `1m30s`; there is none for `Never`."""
    return sum(int(amount) * UNITS[unit] for amount, unit in re.findall("([0-9]+)([smh])", duration))


class ExtraValues(Section):
    """The Helm values of a runtime that people may set."""

    OLDER_SPELLINGS: ClassVar = {"sdWebuiInferenceApi": "runtime"}
    POPULATED: ClassVar = {"global": Populated("Facts of the cluster.", {})}
    MISPLACED: ClassVar = {
        **{
            key: f"extraValues.runtime.{key} or extraValues.sdWebuiInferenceApi.{key}"
            for key in ("inferenceApi", "persistence", "queueAgent", "scaling")
        },
        **{key: f"extraValues.karpenter.{key}" for key in ("nodeTemplate", "provisioner")},
    }

    karpenter: Karpenter = Field(default_factory=Karpenter, description="The runtime's nodes.")
    runtime: RuntimeValues = Field(default_factory=RuntimeValues, description="The runtime's pods.")
    sd_webui_inference_api: Annotated[RuntimeValues, Older()] = Field(
        default_factory=RuntimeValues, description="Older spelling of `runtime`."
    )

    def problems(self) -> Iterator[Problem]:
        """Yield that nodes would not wait for what pods may take."""
        disruption, agent = self.karpenter.provisioner.disruption, self.pods.queue_agent
        if not (disruption.known("termination_grace_period") and agent.known("drain_seconds", "finish_seconds")):
            return
        given = disruption.termination_grace_period
        if given and seconds_of(given) <= agent.grace_seconds:
            yield Problem(
                ("karpenter", "provisioner", "disruption", "terminationGracePeriod"),
                f"is {given}, and a pod may take {agent.grace_seconds}s to end: give it more, or leave it out",
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
