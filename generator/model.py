"""config.yaml: the shape that the guidance documents, in all three of its versions, and the section `cluster`."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from apps.crossplane.aws.owner import PARTITIONS, domain, partition
from generator import names
from generator.section import LandsIn, Location, LowerCased, Matches, Name, Number, Problem, Section, TextMap
from generator.values import ExtraValues

# Of this project, and so of its images where nobody names others.
VERSION = "0.1.0"

# Where the guidance's code looks for its chart, and where its documents say it is, in the first repository and the
# second. Those charts expect values that its CDK stack filled in, so whoever names them is served ours.
GUIDANCE_CHARTS = re.compile(
    r"^oci://public\.ecr\.aws/bingjiao/charts([/:]|$)"
    r"|^https://aws-samples\.github\.io/stable-diffusion-on-eks(/|$)"
    r"|^https://aws-solutions-library-samples\.github\.io"
    r"/guidance-for-asynchronous-inference-with-stable-diffusion-on-aws(/|$)",
    re.IGNORECASE,
)

# The guidance's documents have this spelling, and its code the other.
TYPE_TYPO = "confyui"


def _mend_typo(value: object) -> object:
    return "comfyui" if isinstance(value, str) and value.lower() == TYPE_TYPO else value


RuntimeType = Annotated[
    Literal["sdwebui", "comfyui"],
    LowerCased,
    BeforeValidator(_mend_typo),
    WithJsonSchema({"enum": ["sdwebui", "comfyui", "SDWebUI", "ComfyUI", TYPE_TYPO]}),
]

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/: 63 for an RFC 1123 label.
Namespace = Annotated[Name, StringConstraints(max_length=63)]


class Repository(Section):
    """The git repository that Argo CD reads."""

    LANDS_IN = "Application"

    url: Annotated[
        str, Matches(r"^((https?|ssh|git)://[^\s]+|[^@\s]+@[^:\s]+:[^\s]+)$", "the URL of a git repository")
    ] = Field(description="URL that Argo CD can reach this repository by.")
    revision: str = Field("main", min_length=1, description="Branch, tag or commit that is deployed.")


class Outputs(Section):
    """The bucket of pictures and job records."""

    LANDS_IN = "InferenceAPI"

    retention_days: Number | None = Field(
        None, ge=1, description="Days after which pictures and job records expire. Without it they are kept for ever."
    )
    record_retention_days: Number | None = Field(
        None,
        ge=1,
        description="Days after which job records expire, where pictures are kept longer: a job is not known any more "
        "then, and its id is free again.",
    )
    upload_retention_days: Number = Field(7, ge=1, description="Days after which inputs that clients uploaded expire.")
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain",
        description="Whether the bucket outlives the InferenceAPI, or goes with every picture in it.",
    )
    cors_allowed_origins: tuple[str, ...] = Field(
        (), description="Origins of the web pages that may call the job API, load pictures and upload inputs."
    )

    def problems(self) -> Iterator[Problem]:
        """Yield that records should outlive what they are about."""
        if not self.known("retention_days", "record_retention_days"):
            return
        pictures, records = self.retention_days, self.record_retention_days
        if pictures and records and records > pictures:
            yield Problem(
                ("recordRetentionDays",),
                f"is more than the {pictures} retentionDays, with which records expire, too: set {pictures} or less, "
                "or remove it",
            )


class JobApi(Section):
    """The job API on Lambda, behind API Gateway."""

    LANDS_IN = "InferenceAPI"

    image: Annotated[
        str,
        Matches(
            "^$|^[0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.[a-z0-9.]+/[^:@\\s]+(:[^:@\\s]+|(:[^:@\\s]+)?@sha256:[0-9a-f]{64})$",
            "an image in ECR with a tag or digest, since Lambda runs no other",
        ),
    ] = Field(
        "",
        description=f"Image of the job API, in ECR of this region. Without it, `darkroom/api:{VERSION}` of the "
        "account's registry.",
    )
    architecture: Literal["x86_64", "arm64"] = Field("x86_64", description="What the image was built for.")
    memory_megabytes: Number = Field(
        1024, ge=256, le=10240, description="Memory of a function; its share of a processor grows with it."
    )
    key_required: bool = Field(
        True, description="Whether a request needs an API key. Without, anybody may ask for pictures."
    )
    # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
    log_retention_days: Literal[
        1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
    ] = Field(30, description="Days after which log lines go, those of the cluster's containers and nodes, too.")
    access_log: bool = Field(
        True, description="Whether each request leaves a line, without its headers, query and body."
    )
    account_log_role: Literal["Managed", "Existing"] = Field(
        "Managed",
        description="Whether the role by which API Gateway writes logs, one for an account and region, is made and "
        "set, or is there already.",
    )


class Alarms(Section):
    """Alarms of CloudWatch: waiting jobs, dead letters, failing functions, answers 5xx."""

    LANDS_IN = "InferenceAPI"

    topic_arn: Annotated[
        str,
        Matches("^$|^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", "the ARN of an SNS topic"),
    ] = Field("", description="SNS topic that is told when an alarm rings and ends. CloudWatch must be allowed to.")
    oldest_job_seconds: Annotated[Number, LandsIn("InferenceRuntime")] = Field(
        1800,
        ge=60,
        description="How long a job may wait before that is an alarm; nodes and models take minutes to come.",
    )


class AddOns(Section):
    """What the cluster has beside the runtimes. Whoever switches one off brings what it is for, or goes without."""

    LANDS_IN = "Application"

    argocd: bool = Field(True, description="Argo CD, which then manages itself.")
    crossplane: bool = Field(True, description="Crossplane, with the providers and functions that claims need.")
    keda: bool = Field(True, description="KEDA, which decides how many replicas runtimes have.")
    karpenter: bool = Field(True, description="Karpenter, which launches the runtimes' nodes.")
    storage_s3: bool | None = Field(
        None, description="The CSI driver of S3. Without it, whether there is a model bucket."
    )
    storage_efs: bool | None = Field(
        None, description="The CSI driver of EFS. Without it, whether a runtime has models in EFS."
    )
    observability: bool = Field(
        True, description="Metrics and logs in CloudWatch, of GPUs too, and a dashboard of the service."
    )
    prometheus_rules: bool = Field(
        False, description="Alert rules for Prometheus. The cluster needs the Prometheus operator."
    )


Cidr = Annotated[str, Matches(r"^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$", "a range of addresses such as 10.0.0.0/16")]


class Eks(Section):
    """The cluster as `make bootstrap` makes it. Nothing here counts where `cluster.existing` is true."""

    LANDS_IN = "bootstrap/eks"

    version: Annotated[str, Matches(r"^1\.[0-9]{2}$", "a version of Kubernetes such as '1.35', in quotes")] = Field(
        "1.35", description="Version of Kubernetes, in quotes. Updates are made one by one, by eksctl."
    )
    vpc_cidr: Cidr = Field("10.0.0.0/16", description="Addresses of the VPC that is made.")
    nat_gateways: Literal["Single", "HighlyAvailable"] = Field(
        "Single", description="Whether one NAT gateway serves all zones, or each has its own."
    )
    api_allowed_cidrs: tuple[Cidr, ...] = Field(
        ("0.0.0.0/0",), min_length=1, description="From where the API server may be reached, besides from its VPC."
    )
    administrators: tuple[
        Annotated[str, Matches("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*]+$", "the ARN of a role or user")], ...
    ] = Field((), description="Who may do everything in the cluster, besides whoever makes it.")
    encryption_key_arn: Annotated[
        str, Matches("^$|^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9A-Za-z-]+$", "the ARN of a KMS key")
    ] = Field("", description="KMS key that Secrets are encrypted with. Without it, one that AWS owns.")
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653] = Field(
        30, description="Days after which the logs of the control plane go."
    )


BucketName = Annotated[str, Matches("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", "the name of an S3 bucket")]


class Cluster(Section):
    """Facts about the cluster that the guidance took from whoever ran it."""

    LANDS_IN = "InferenceAPI"

    account_id: Annotated[str, Matches("^[0-9]{12}$", "the 12 digits of an AWS account, in quotes")] = Field(
        description="AWS account of everything that is made, in quotes."
    )
    region: Annotated[str, Matches("^[a-z]{2,4}(-[a-z]+)+-[0-9]$", "an AWS region such as us-west-2")] = Field(
        description="AWS region of everything that is made."
    )
    repository: Repository = Field(description="The git repository that Argo CD reads.")
    production: Annotated[bool, LandsIn("checks only")] = Field(
        False,
        description="Whether to refuse what would change in production without a commit, such as an image tagged "
        "`latest`.",
    )
    name: Annotated[
        str, Matches("^$|^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$", "the name of an EKS cluster: letters, digits, - and _")
    ] = Field("", description="Name of the EKS cluster. Without it, `stackName`.")
    tags: Annotated[TextMap, LandsIn("InferenceAPI, EC2NodeClass")] = Field(
        {}, max_length=40, description="Tags of everything that is made in AWS."
    )
    tracing: bool = Field(
        True,
        description="Whether X-Ray traces requests through API Gateway, function, topic and queue. Runtimes have a "
        "setting of their own.",
    )
    input_buckets: Annotated[tuple[BucketName, ...], LandsIn("InferenceRuntime")] = Field(
        (), max_length=20, description="Buckets, besides the output bucket, that jobs may name inputs in."
    )
    api: JobApi = Field(default_factory=JobApi, description="The job API on Lambda, behind API Gateway.")
    alarms: Alarms = Field(default_factory=Alarms, description="Alarms of CloudWatch.")
    outputs: Outputs = Field(default_factory=Outputs, description="The bucket of pictures and job records.")
    add_ons: AddOns = Field(default_factory=AddOns, description="What the cluster has beside the runtimes.")
    existing: Annotated[bool, LandsIn("bootstrap/eks")] = Field(
        False, description="Whether the EKS cluster is there already, so that bootstrap only adds to it."
    )
    eks: Eks = Field(default_factory=Eks, description="The cluster as `make bootstrap` makes it.")

    @property
    def partition(self) -> str:
        """AWS's partition of the region."""
        return partition(self.region)

    @property
    def api_image(self) -> str:
        """The image of the job API."""
        return self.api.image or f"{self.image_registry}/api:{VERSION}"

    @property
    def image_registry(self) -> str:
        """Where the project's own images are, unless people name others: `<registry>/<image>:<version>`."""
        return f"{self.account_id}.dkr.ecr.{self.region}.{domain(self.region)}/{names.IMAGES}"


class Throttle(Section):
    """What one API key may ask for."""

    LANDS_IN = "InferenceAPI"

    rate_limit: Number = Field(30, ge=1, description="Requests per second, on average.")
    burst_limit: Number = Field(50, ge=1, description="Requests at once.")


class Gateway(Section):
    """The REST API."""

    LANDS_IN = "InferenceAPI"

    # https://docs.aws.amazon.com/apigateway/latest/api/API_CreateStage.html
    stage_name: Annotated[
        str, Matches("^[A-Za-z0-9_-]{1,128}$", "up to 128 letters, digits, hyphens and underscores")
    ] = Field("prod", description="Stage of the REST API; the first part of every path.")
    throttle: Throttle = Field(default_factory=Throttle, description="What one API key may ask for.")


class ClusterComponents(Section):
    """The nodes of everything but the runtimes; bootstrap/eks makes them."""

    LANDS_IN = "bootstrap/eks"

    instance_type: str = Field("m7g.large", description="Instance type of the nodes.")
    desired_count: Number = Field(2, ge=1, description="How many there are.")


class Release(Section):
    """What every runtime has, the dynamic one of `dynamicModelRuntime` too."""

    namespace: Annotated[Namespace, LandsIn("Namespace")] = Field(
        "default", description="Namespace of the runtime; it is made where there is none. Becomes lower-case."
    )
    type: Annotated[RuntimeType, LandsIn("Deployment")] = Field(
        "sdwebui", description="What the inference server speaks: the API of Stable Diffusion web UI, or of ComfyUI."
    )
    chart_repository: Annotated[
        str,
        Matches(
            r"^$|^https://[^\s/]+|^oci://[^\s/]+(/[^\s/]+)+$",
            "oci://<registry>/<path>/<chart> or https://<host>/…#<chart>",
        ),
        LandsIn("Application"),
    ] = Field(
        "",
        description="Where a chart of your own is, which gets the same values as runtimes/chart: "
        "`oci://<registry>/<path>/<chart>`, or a repository's `https://` address with the chart's name behind `#` "
        f"(`{names.GUIDANCE_CHART}` without one). The addresses of the guidance's charts mean runtimes/chart.",
    )
    chart_version: Annotated[str, LandsIn("Application")] = Field(
        "", description="Version of the chart of your own; exact where `cluster.production` is true."
    )
    extra_values: ExtraValues = Field(default_factory=ExtraValues, description="Helm values of the runtime.")

    @property
    def own_chart(self) -> str:
        """Where a chart of people's own is; empty if the chart is runtimes/chart."""
        return "" if GUIDANCE_CHARTS.match(self.chart_repository) else self.chart_repository

    def problems(self) -> Iterator[Problem]:
        """Yield that nobody said which chart of their own is deployed."""
        if self.own_chart and self.known("chart_version") and not self.chart_version:
            yield Problem(
                ("chartVersion",), "is missing: say which version of the chart in chartRepository is deployed"
            )


class Runtime(Release):
    """One kind of worker: a queue, an inference server, and the nodes it runs on."""

    name: Annotated[Name, LandsIn("InferenceRuntime")] = Field(
        description="Name of the runtime; jobs are routed by it. Becomes lower-case."
    )
    model_filename: Annotated[str, LandsIn("InferenceAPI, Deployment")] = Field(
        "",
        description="The one model that the runtime serves, as a file name in the model bucket (in quotes if it is all "
        "digits). Only for sdwebui, which serves what it has by itself where neither this nor `dynamicModel` is set.",
    )
    dynamic_model: Annotated[bool, LandsIn("InferenceAPI, Deployment")] = Field(
        False,
        description="Whether the runtime loads whatever model a job asks for. Only for sdwebui. The first such runtime "
        "gets the jobs that name no runtime, and a model that no other serves.",
    )

    def problems(self) -> Iterator[Problem]:
        """Yield, further, that ComfyUI is asked for what only sdwebui can do."""
        yield from super().problems()
        if self.type == "comfyui" and self.dynamic_model:
            yield Problem(
                ("dynamicModel",),
                "is for runtimes of type sdwebui: a ComfyUI workflow names its models itself; remove it",
            )

    @property
    def model(self) -> str | None:
        """The one model that people say the runtime serves; None if it serves any, or is told by the workflow."""
        return None if self.type == "comfyui" or self.dynamic_model else self.model_filename or None


class DynamicModelRuntime(Release):
    """The guidance's older way to ask for a runtime with `dynamicModel: true`."""

    enabled: Annotated[bool, LandsIn("InferenceRuntime")] = Field(
        False,
        description=f"Whether there is a runtime `{names.DYNAMIC_RUNTIME}` that loads any model.",
    )

    def problems(self) -> Iterator[Problem]:
        """Yield, further, that the runtime is not of the only type that it can be."""
        yield from super().problems()
        if self.type != "sdwebui":
            yield Problem(("type",), "can only be sdwebui: list a ComfyUI runtime under modelsRuntime")

    @property
    def runtime(self) -> Runtime:
        """The same as a member of `modelsRuntime`."""
        given = {self.keys()[name]: getattr(self, name) for name in self.model_fields_set - {"enabled"}}
        return Runtime.model_validate({**given, "name": names.DYNAMIC_RUNTIME, "dynamicModel": True})


StackName = Annotated[Name, LandsIn("InferenceAPI")]
ModelBucketArn = Annotated[
    str,
    Matches(
        f"^$|^arn:({'|'.join(['aws', *(name for name, _ in PARTITIONS.values())])}):s3:::[a-z0-9][a-z0-9.-]+$",
        "the ARN of an S3 bucket, such as arn:aws:s3:::my-models",
    ),
    LandsIn("PersistentVolume"),
]

DEFAULT_STACK = "sdoneks"


class Config(Section):
    """A cluster's config.yaml."""

    stack_name: StackName = Field(
        DEFAULT_STACK, description="Starts the name of everything made in AWS. Becomes lower-case."
    )
    model_bucket_arn: ModelBucketArn = Field(
        "", description="The bucket that models are in. Without it runtimes have the models that their image has."
    )
    api_gateway: Gateway = Field(default_factory=Gateway, alias="APIGW", description="The REST API.")
    models_runtime: tuple[Runtime, ...] = Field(description="The runtimes.")
    dynamic_model_runtime: DynamicModelRuntime = Field(
        default_factory=DynamicModelRuntime,
        description="Older way to ask for a runtime with `dynamicModel: true`.",
    )
    cluster_components: ClusterComponents = Field(
        default_factory=ClusterComponents, description="The nodes of everything but the runtimes."
    )
    cluster: Cluster = Field(description="Facts about the cluster. The guidance has no such section.")

    @property
    def runtimes(self) -> dict[Location, Runtime]:
        """Every runtime that is known, by where it is in the file."""
        given = self.models_runtime if self.known("models_runtime") else ()
        listed: dict[Location, Runtime] = {("modelsRuntime", index): runtime for index, runtime in enumerate(given)}
        dynamic = self.dynamic_model_runtime
        return listed | ({("dynamicModelRuntime",): dynamic.runtime} if dynamic.enabled else {})

    @property
    def cluster_name(self) -> str:
        """Name of the EKS cluster."""
        return self.cluster.name or self.stack_name

    @property
    def add_ons(self) -> dict[str, bool]:
        """Whether the cluster has each add-on of `cluster.addOns`, by the attribute's name."""
        given = self.cluster.add_ons
        efs = [runtime.extra_values.pods.persistence.efs.file_system_id for runtime in self.runtimes.values()]
        implied = {"storage_s3": bool(self.model_bucket), "storage_efs": any(efs)}
        return given.model_dump() | {name: needed for name, needed in implied.items() if getattr(given, name) is None}

    @property
    def model_bucket(self) -> str:
        """Name of the bucket that models are in; empty if there is none."""
        return self.model_bucket_arn.rpartition(":")[2]
