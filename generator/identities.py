"""Who of the cluster's add-ons may do what in AWS: the roles that bootstrap/eks makes, by EKS Pod Identity.

Each says resource by resource what its service account needs. The few actions whose service lets none be named are by
themselves, in statements that end with `Anywhere`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from apps.crossplane.aws.policy import allow
from generator import addons, names, provider_roles
from generator.model import Config
from generator.packages import PROVIDERS
from generator.provider_roles import arn, pass_role, role_arn

Statement = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """A service account, and what it may do in AWS.

    Attributes:
        role: Name of its role.
        statements: The policy of the role.
    """

    namespace: str
    service_account: str
    role: str
    statements: tuple[Statement, ...]

    @property
    def policy(self) -> dict[str, Any]:
        """The document of the policy."""
        return {"Version": "2012-10-17", "Statement": list(self.statements)}


def identities(config: Config) -> Iterator[Identity]:
    """Yield the identities of a cluster's add-ons."""
    for add_on in addons.enabled(config):
        if add_on.name == names.CROSSPLANE_PACKAGES:
            for provider in PROVIDERS:
                role = names.ADD_ON_ROLE.name(config.stack_name, provider.package)
                statements = tuple(provider_roles.statements(config, provider.service))
                yield Identity(add_on.namespace, provider.package, role, statements)
        elif add_on.name in OTHERS:
            service_account, statements_of = OTHERS[add_on.name]
            role = names.ADD_ON_ROLE.name(config.stack_name, add_on.name)
            yield Identity(add_on.namespace, service_account, role, tuple(statements_of(config)))


def keda(config: Config) -> Iterator[Statement]:
    """Yield what KEDA needs: to see how long the runtimes' queues are."""
    yield allow("Lengths", ["sqs:GetQueueAttributes"], arn(config, "sqs", f"{config.stack_name}_*"))


def storage_s3(config: Config) -> Iterator[Statement]:
    """Yield what mounting the model bucket needs. Nothing in the cluster writes to it."""
    bucket = f"arn:{config.cluster.partition}:s3:::{config.model_bucket}"
    yield allow("List", ["s3:ListBucket"], bucket)
    yield allow("Read", ["s3:GetObject"], f"{bucket}/*")


def storage_efs(config: Config) -> Iterator[Statement]:
    """Yield what mounting file systems that are there already needs."""
    found = {runtime.extra_values.pods.persistence.efs.file_system_id for runtime in config.runtimes.values()} - {""}
    systems = [arn(config, "elasticfilesystem", f"file-system/{system}") for system in sorted(found) or ["*"]]
    yield allow(
        "Mount",
        [
            "elasticfilesystem:ClientMount",
            "elasticfilesystem:DescribeFileSystems",
            "elasticfilesystem:DescribeMountTargets",
        ],
        *systems,
    )
    yield allow("ZonesAnywhere", ["ec2:DescribeAvailabilityZones"], "*")


def observability(config: Config) -> Iterator[Statement]:
    """Yield what the CloudWatch agent and Fluent Bit need: metrics of their namespaces, logs of the cluster."""
    groups = f"log-group:/aws/containerinsights/{config.cluster_name}/*"
    yield allow(
        "Logs",
        [
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
            "logs:PutRetentionPolicy",
        ],
        arn(config, "logs", groups),
        arn(config, "logs", f"{groups}:log-stream:*"),
    )
    yield allow(
        "MetricsAnywhere",
        ["cloudwatch:PutMetricData"],
        "*",
        Condition={"StringEquals": {"cloudwatch:namespace": ["ContainerInsights", "CWAgent"]}},
    )
    yield allow(
        "NodesAnywhere",
        ["ec2:DescribeTags", "ec2:DescribeVolumes"],
        "*",
        Condition={"StringEquals": {"aws:RequestedRegion": config.cluster.region}},
    )


def karpenter(config: Config) -> Iterator[Statement]:
    """Yield what Karpenter needs: to launch and end nodes that bear the cluster's tag, and no others.

    https://karpenter.sh/docs/reference/cloudformation/
    """
    cluster, region = config.cluster_name, config.cluster.region
    owned = f"kubernetes.io/cluster/{cluster}"

    def ec2(*kinds: str) -> list[str]:
        return [arn(config, "ec2", f"{kind}/*") for kind in kinds]

    # Images and snapshots are others' as well: those of Amazon have no account in their ARN.
    public = [f"arn:{config.cluster.partition}:ec2:{region}::{kind}/*" for kind in ("image", "snapshot")]
    asked = {
        "StringEquals": {f"aws:RequestTag/{owned}": "owned", "aws:RequestTag/eks:eks-cluster-name": cluster},
        "StringLike": {"aws:RequestTag/karpenter.sh/nodepool": "*"},
    }
    ours = {
        "StringEquals": {f"aws:ResourceTag/{owned}": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }
    made = ec2("fleet", "instance", "launch-template", "network-interface", "spot-instances-request", "volume")
    launch = ["ec2:CreateFleet", "ec2:RunInstances"]
    yield allow("LaunchFrom", launch, *public, *ec2("snapshot", "security-group", "subnet"))
    yield allow("LaunchBy", launch, *ec2("launch-template"), Condition=ours)
    yield allow("Launch", [*launch, "ec2:CreateLaunchTemplate"], *made, Condition=asked)
    creation = {"ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]}
    yield allow(
        "TagNew",
        ["ec2:CreateTags"],
        *made,
        Condition={**asked, "StringEquals": {**asked["StringEquals"], **creation}},
    )
    keys = ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
    yield allow(
        "Tag",
        ["ec2:CreateTags"],
        *ec2("instance"),
        Condition={
            **ours,
            "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster},
            "ForAllValues:StringEquals": {"aws:TagKeys": keys},
        },
    )
    yield allow(
        "End",
        ["ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"],
        *ec2("instance", "launch-template"),
        Condition=ours,
    )
    yield allow(
        "LookAnywhere",
        [
            "ec2:DescribeCapacityReservations",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceStatus",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeInstances",
            "ec2:DescribeLaunchTemplates",
            "ec2:DescribePlacementGroups",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSpotPriceHistory",
            "ec2:DescribeSubnets",
        ],
        "*",
        Condition={"StringEquals": {"aws:RequestedRegion": region}},
    )
    # Prices are asked of a region that has the service.
    yield allow("PricesAnywhere", ["pricing:GetProducts"], "*")
    parameters = f"arn:{config.cluster.partition}:ssm:{region}::parameter/aws/service/*"
    yield allow("Images", ["ssm:GetParameter"], parameters)
    queue = arn(config, "sqs", names.INTERRUPTION_QUEUE.name(config.stack_name))
    yield allow("Hear", ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"], queue)
    node = role_arn(config, names.NODE_ROLE.name(config.stack_name))
    service = f"ec2.{'amazonaws.com.cn' if config.cluster.partition == 'aws-cn' else 'amazonaws.com'}"
    yield pass_role(node, service)
    yield from _instance_profiles(config, owned)
    yield allow("Cluster", ["eks:DescribeCluster"], arn(config, "eks", f"cluster/{cluster}"))


def _instance_profiles(config: Config, owned: str) -> Iterator[Statement]:
    """Yield what Karpenter needs for the profiles by which instances bear the nodes' role."""
    profiles = f"arn:{config.cluster.partition}:iam::{config.cluster.account_id}:instance-profile/*"

    def tagged(prefix: str) -> dict[str, Any]:
        return {
            "StringEquals": {
                f"aws:{prefix}/{owned}": "owned",
                f"aws:{prefix}/topology.kubernetes.io/region": config.cluster.region,
            },
            "StringLike": {f"aws:{prefix}/karpenter.k8s.aws/ec2nodeclass": "*"},
        }

    asked, ours = tagged("RequestTag"), tagged("ResourceTag")
    both = {operator: {**asked[operator], **ours[operator]} for operator in asked}
    yield allow("MakeProfile", ["iam:CreateInstanceProfile"], profiles, Condition=asked)
    yield allow("TagProfile", ["iam:TagInstanceProfile"], profiles, Condition=both)
    yield allow(
        "ChangeProfile",
        ["iam:AddRoleToInstanceProfile", "iam:DeleteInstanceProfile", "iam:RemoveRoleFromInstanceProfile"],
        profiles,
        Condition=ours,
    )
    yield allow("LookAtProfile", ["iam:GetInstanceProfile"], profiles)
    yield allow("ListProfiles", ["iam:ListInstanceProfiles"], profiles)


# The service accounts of the charts, and what they need.
OTHERS: dict[str, tuple[str, Callable[[Config], Iterator[Statement]]]] = {
    "karpenter": ("karpenter", karpenter),
    "keda": ("keda-operator", keda),
    "observability": ("cloudwatch-agent", observability),
    "storage-efs": ("efs-csi-node-sa", storage_efs),
    "storage-s3": ("s3-csi-driver-sa", storage_s3),
}
