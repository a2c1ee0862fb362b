"""What Crossplane's providers may do in AWS: each in its own service, to what bears the stack's name."""

from collections.abc import Iterator

from apps.crossplane.aws.policy import Statement, allow
from generator import names
from generator.model import Config


def pass_role(role: str, service: str) -> Statement:
    """Return the statement that lets `role` be handed to `service`, and to no other."""
    return allow("Pass", ["iam:PassRole"], role, Condition={"StringEquals": {"iam:PassedToService": service}})


def arn(config: Config, service: str, resource: str) -> str:
    """Return the ARN of a resource in the cluster's account and region."""
    cluster = config.cluster
    return f"arn:{cluster.partition}:{service}:{cluster.region}:{cluster.account_id}:{resource}"


def role_arn(config: Config, name: str) -> str:
    """Return the ARN of a role."""
    return f"arn:{config.cluster.partition}:iam::{config.cluster.account_id}:role/{name}"


def statements(config: Config, service: str) -> Iterator[Statement]:
    """Yield what the provider of a service needs."""
    yield from BY_SERVICE[service](config)


def actions(service: str, *names_: str) -> list[str]:
    """Return actions of a service: `actions("sqs", "CreateQueue")`."""
    return [f"{service}:{name}" for name in names_]


def apigateway(config: Config) -> Iterator[Statement]:
    """Yield what making the REST API needs. Its ARNs are paths, with ids that AWS draws."""
    start = f"arn:{config.cluster.partition}:apigateway:{config.cluster.region}::"
    paths = ("account", "apikeys", "apikeys/*", "restapis", "restapis/*", "tags/*", "usageplans", "usageplans/*")
    verbs = actions("apigateway", "DELETE", "GET", "PATCH", "POST", "PUT")
    yield allow("Gateway", verbs, *(f"{start}/{path}" for path in paths))
    yield pass_role(role_arn(config, f"{config.stack_name}-*"), "apigateway.amazonaws.com")


def cloudcontrol(config: Config) -> Iterator[Statement]:
    """Yield what the Cloud Control API needs, for the two kinds that are made by it, and those kinds need."""
    kinds = ("CreateResource", "DeleteResource", "GetResource", "GetResourceRequestStatus", "UpdateResource")
    yield allow("ControlAnywhere", actions("cloudformation", *kinds), "*")
    policies = ("DeleteResourcePolicy", "ListResourcePolicies", "PutResourcePolicy")
    yield allow("TracesAnywhere", actions("xray", *policies), "*")
    yield allow("DrawAnywhere", actions("secretsmanager", "GetRandomPassword"), "*")
    secret = (
        "CreateSecret",
        "DeleteSecret",
        "DescribeSecret",
        "GetSecretValue",
        "TagResource",
        "UntagResource",
        "UpdateSecret",
    )
    resource = arn(config, "secretsmanager", f"secret:{config.stack_name}-webhooks-*")
    yield allow("Secret", actions("secretsmanager", *secret), resource)


def cloudwatch(config: Config) -> Iterator[Statement]:
    """Yield what making alarms and the dashboard needs."""
    alarms = ("DeleteAlarms", "DescribeAlarms", "ListTagsForResource", "PutMetricAlarm", "TagResource", "UntagResource")
    yield allow("Alarms", actions("cloudwatch", *alarms), *_named(config, "cloudwatch", "alarm:"))
    # Dashboards are the same in all regions.
    dashboard = f"arn:{config.cluster.partition}:cloudwatch::{config.cluster.account_id}:dashboard/{config.stack_name}"
    yield allow("Dashboard", actions("cloudwatch", "DeleteDashboards", "GetDashboard", "PutDashboard"), dashboard)


def cloudwatchevents(config: Config) -> Iterator[Statement]:
    """Yield what making rules and their targets needs."""
    rules = (
        "DeleteRule",
        "DescribeRule",
        "DisableRule",
        "EnableRule",
        "ListTagsForResource",
        "ListTargetsByRule",
        "PutRule",
        "PutTargets",
        "RemoveTargets",
        "TagResource",
        "UntagResource",
    )
    yield allow("Rules", actions("events", *rules), arn(config, "events", f"rule/{config.stack_name}-*"))


def cloudwatchlogs(config: Config) -> Iterator[Statement]:
    """Yield what making groups of logs needs."""
    groups = (
        "CreateLogGroup",
        "DeleteLogGroup",
        "DeleteRetentionPolicy",
        "ListTagsForResource",
        "PutRetentionPolicy",
        "TagResource",
        "UntagResource",
    )
    starts = (
        f"/aws/lambda/{config.stack_name}-*",
        f"/aws/apigateway/{config.stack_name}*",
        f"/aws/containerinsights/{config.cluster_name}/*",
    )
    yield allow("Groups", actions("logs", *groups), *(arn(config, "logs", f"log-group:{start}") for start in starts))
    yield allow("List", actions("logs", "DescribeLogGroups"), arn(config, "logs", "log-group:*"))


def eks(config: Config) -> Iterator[Statement]:
    """Yield what giving roles to the runtimes' service accounts needs."""
    association = ("DeletePodIdentityAssociation", "DescribePodIdentityAssociation", "UpdatePodIdentityAssociation")
    theirs = arn(config, "eks", f"podidentityassociation/{config.cluster_name}/*")
    cluster = arn(config, "eks", f"cluster/{config.cluster_name}")
    yield allow("Associations", actions("eks", *association, "TagResource", "UntagResource"), theirs)
    yield allow("Associate", actions("eks", "CreatePodIdentityAssociation", "ListPodIdentityAssociations"), cluster)
    role = role_arn(config, f"{config.stack_name}_*")
    yield allow("Look", actions("iam", "GetRole"), role)
    yield pass_role(role, "pods.eks.amazonaws.com")


def iam(config: Config) -> Iterator[Statement]:
    """Yield what making roles needs: not the nodes' and those of add-ons, its own among them, which bootstrap made."""
    roles = (
        "CreateRole",
        "DeleteRole",
        "DeleteRolePolicy",
        "GetRole",
        "GetRolePolicy",
        "ListAttachedRolePolicies",
        "ListInstanceProfilesForRole",
        "ListRolePolicies",
        "ListRoleTags",
        "PutRolePolicy",
        "TagRole",
        "UntagRole",
        "UpdateAssumeRolePolicy",
        "UpdateRole",
        "UpdateRoleDescription",
    )
    stack = config.stack_name
    yield allow("Roles", actions("iam", *roles), role_arn(config, f"{stack}-*"), role_arn(config, f"{stack}_*"))
    guarded = (names.NODE_ROLE.name(stack), names.ADD_ON_ROLE.name(stack, "*"))
    yield {
        "Sid": "NotTheClusters",
        "Effect": "Deny",
        "Action": actions("iam", *roles),
        "Resource": [role_arn(config, name) for name in guarded],
    }


def lambda_(config: Config) -> Iterator[Statement]:
    """Yield what making functions from the job API's image needs."""
    functions = (
        "AddPermission",
        "CreateFunction",
        "DeleteFunction",
        "GetFunction",
        "GetFunctionCodeSigningConfig",
        "GetFunctionConfiguration",
        "GetPolicy",
        "ListTags",
        "ListVersionsByFunction",
        "RemovePermission",
        "TagResource",
        "UntagResource",
        "UpdateFunctionCode",
        "UpdateFunctionConfiguration",
    )
    yield allow("Functions", actions("lambda", *functions), arn(config, "lambda", f"function:{config.stack_name}-*"))
    mappings = (
        "CreateEventSourceMapping",
        "DeleteEventSourceMapping",
        "GetEventSourceMapping",
        "UpdateEventSourceMapping",
    )
    tags = ("ListTags", "TagResource", "UntagResource")
    yield allow(
        "Sources",
        actions("lambda", *mappings, *tags),
        arn(config, "lambda", "event-source-mapping:*"),
    )
    yield pass_role(role_arn(config, f"{config.stack_name}-*"), "lambda.amazonaws.com")
    # Lambda asks whether whoever makes the function may have its image.
    registry, _, image = config.cluster.api_image.partition("/")
    repository = image.partition("@")[0].partition(":")[0]
    # <account>.dkr.ecr.<region>.<domain>
    account, _, _, region, *_ = registry.split(".")
    where = f"arn:{config.cluster.partition}:ecr:{region}:{account}:repository/{repository}"
    yield allow("Image", actions("ecr", "BatchGetImage", "GetDownloadUrlForLayer", "GetRepositoryPolicy"), where)


def s3(config: Config) -> Iterator[Statement]:
    """Yield what making the two buckets needs, and writing the routing table."""
    cluster = config.cluster
    buckets = [
        f"arn:{cluster.partition}:s3:::{config.stack_name}-{purpose}-{cluster.account_id}-{cluster.region}"
        for purpose in ("outputs", "config")
    ]
    reads = (
        "GetAccelerateConfiguration",
        "GetBucketAcl",
        "GetBucketCORS",
        "GetBucketLocation",
        "GetBucketLogging",
        "GetBucketObjectLockConfiguration",
        "GetBucketOwnershipControls",
        "GetBucketPolicy",
        "GetBucketPublicAccessBlock",
        "GetBucketRequestPayment",
        "GetBucketTagging",
        "GetBucketVersioning",
        "GetBucketWebsite",
        "GetEncryptionConfiguration",
        "GetLifecycleConfiguration",
        "GetReplicationConfiguration",
        "ListBucket",
        "ListBucketVersions",
        "ListTagsForResource",
    )
    writes = (
        "CreateBucket",
        "DeleteBucket",
        "DeleteBucketPolicy",
        "PutBucketCORS",
        "PutBucketOwnershipControls",
        "PutBucketPolicy",
        "PutBucketPublicAccessBlock",
        "PutBucketTagging",
        "PutEncryptionConfiguration",
        "PutLifecycleConfiguration",
        "TagResource",
        "UntagResource",
    )
    yield allow("Look", actions("s3", *reads), *buckets)
    yield allow("Buckets", actions("s3", *writes), *buckets)
    table = ("GetObject", "GetObjectAttributes", "GetObjectTagging", "PutObject")
    yield allow("RoutingTable", actions("s3", *table), f"{buckets[1]}/runtimes.json")
    # A bucket goes with what is in it: the one of pictures only where the configuration says so.
    emptied = buckets if cluster.outputs.deletion_policy == "Delete" else buckets[1:]
    yield allow("Empty", actions("s3", "DeleteObject", "DeleteObjectVersion"), *(f"{bucket}/*" for bucket in emptied))


def sns(config: Config) -> Iterator[Statement]:
    """Yield what making the two topics and their subscriptions needs."""
    topics = (
        "CreateTopic",
        "DeleteTopic",
        "GetSubscriptionAttributes",
        "GetTopicAttributes",
        "ListSubscriptionsByTopic",
        "ListTagsForResource",
        "SetSubscriptionAttributes",
        "SetTopicAttributes",
        "Subscribe",
        "TagResource",
        "Unsubscribe",
        "UntagResource",
    )
    ours = [arn(config, "sns", f"{config.stack_name}-{purpose}") for purpose in ("input", "output")]
    yield allow("Topics", actions("sns", *topics), *ours, *(f"{topic}:*" for topic in ours))


def sqs(config: Config) -> Iterator[Statement]:
    """Yield what making queues needs. Their messages are none of the provider's business."""
    queues = (
        "CreateQueue",
        "DeleteQueue",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListQueueTags",
        "SetQueueAttributes",
        "TagQueue",
        "UntagQueue",
    )
    yield allow("Queues", actions("sqs", *queues), *_named(config, "sqs", ""))


def _named(config: Config, service: str, start: str) -> list[str]:
    """Return the ARNs of what is made for the InferenceAPI, and for its runtimes."""
    return [arn(config, service, f"{start}{config.stack_name}{end}*") for end in ("-", "_")]


BY_SERVICE = {
    "apigateway": apigateway,
    "cloudcontrol": cloudcontrol,
    "cloudwatch": cloudwatch,
    "cloudwatchevents": cloudwatchevents,
    "cloudwatchlogs": cloudwatchlogs,
    "eks": eks,
    "iam": iam,
    "lambda": lambda_,
    "s3": s3,
    "sns": sns,
    "sqs": sqs,
}
