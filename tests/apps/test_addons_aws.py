"""What add-ons and Crossplane's providers may do in AWS, against what is really made there."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import metrics
from generator import names
from generator.identities import Identity, identities
from generator.load import load
from generator.packages import PROVIDERS
from tests.policy import iam
from tests.policy.rendered import Manifest, Rendered, claims, committed, composed
from tools import schema

ROOT = Path(__file__).parents[2]
CLUSTERS = ("production", "staging")
MANAGED = ".aws.m.upbound.io"

# Kinds of which there are some only once AWS has made others.
LATER = {("apigateway", "Deployment")}

# What AWS lets no resource be named for, and whose it is.
ANYWHERE = {
    "provider-aws-cloudcontrol": {
        *(f"cloudformation:{verb}Resource" for verb in ("Create", "Delete", "Get", "Update")),
        "cloudformation:GetResourceRequestStatus",
        "secretsmanager:GetRandomPassword",
        *(f"xray:{verb}" for verb in ("DeleteResourcePolicy", "ListResourcePolicies", "PutResourcePolicy")),
    },
    "cloudwatch-agent": {"cloudwatch:PutMetricData", "ec2:DescribeTags", "ec2:DescribeVolumes"},
    "karpenter": {
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
        "pricing:GetProducts",
    },
}


@pytest.fixture(scope="module")
def managed() -> list[Rendered]:
    """Everything that Crossplane makes in AWS, for clusters and examples."""
    found = committed()
    return [
        item
        for item in [*found, *composed(claims(found))]
        if re.search(rf"[a-z0-9]{re.escape(MANAGED)}/", item.manifest["apiVersion"])
    ]


def of_cluster(name: str) -> dict[str, Identity]:
    config = load((ROOT / "clusters" / name / "config.yaml").read_text(), "config.yaml").config
    return {identity.service_account: identity for identity in identities(config)}


def service_of(item: Rendered) -> str:
    return str(item.manifest["apiVersion"]).split(MANAGED, maxsplit=1)[0]


def test_exactly_the_kinds_that_are_used_are_active_and_have_a_provider(managed: list[Rendered]) -> None:
    used = {(service_of(item), item.kind) for item in managed}
    assert used | LATER == {(provider.service, kind) for provider in PROVIDERS for kind in provider.kinds}
    active = yaml.safe_load((ROOT / "apps/crossplane/packages/managedresourceactivationpolicy.yaml").read_text())
    assert "*" not in "".join(active["spec"]["activate"])
    assert len(active["spec"]["activate"]) == len(used | LATER)
    for provider in PROVIDERS:
        for kind, plural in provider.kinds.items():
            definition = yaml.load(
                schema.definition_file(f"{provider.service}{MANAGED}", kind).read_bytes(), yaml.CSafeLoader
            )
            assert definition["metadata"]["name"] in active["spec"]["activate"]
            assert definition["spec"]["names"]["plural"] == plural


def test_compositions_call_functions_that_are_installed() -> None:
    folder = ROOT / "apps" / "crossplane"
    installed = {
        yaml.safe_load(path.read_text())["metadata"]["name"] for path in folder.glob("packages/functions/*.yaml")
    }
    called = {
        step["functionRef"]["name"]
        for path in folder.glob("apis/*/composition.yaml")
        for step in yaml.safe_load(path.read_text())["spec"]["pipeline"]
    }
    assert called == installed


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_only_what_aws_lets_no_resource_be_named_for_is_allowed_anywhere(cluster: str) -> None:
    for account, identity in of_cluster(cluster).items():
        role = Rendered("identities", {"kind": "Role", "metadata": {"name": account}, "policy": identity.policy})
        found = list(iam.find([role]))
        assert {finding.check for finding in found} <= {"named-resource"}
        assert {finding.subject for finding in found} == ANYWHERE.get(account, set()), account
        marked = [statement["Sid"].endswith("Anywhere") for statement in identity.statements]
        assert marked == [statement["Resource"] == ["*"] for statement in identity.statements]
        assert len(json.dumps(identity.policy)) < 10_240, (
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"
        )
        assert len(identity.role) <= names.ADD_ON_ROLE.limit


def allows(identity: Identity, action: str, resource: str) -> bool:
    """Return whether a policy without conditions allows `action` on `resource`."""

    def effects() -> Iterator[str]:
        for statement in identity.statements:
            if action in statement["Action"] and any(fnmatchcase(resource, name) for name in statement["Resource"]):
                yield statement["Effect"]

    return set(effects()) == {"Allow"}


# What making a thing of a kind asks for, and the end of its ARN, from its name and what is set of it.
NEEDS = {
    "BucketPolicy": ("s3:PutBucketPolicy", "arn:aws:s3:::{bucket}"),
    "Bucket": ("s3:CreateBucket", "arn:aws:s3:::{name}"),
    "BucketObject": ("s3:PutObject", "arn:aws:s3:::{bucket}/{key}"),
    "Dashboard": ("cloudwatch:PutDashboard", "arn:aws:cloudwatch::123456789012:dashboard/{name}"),
    "Function": ("lambda:CreateFunction", "arn:aws:lambda:{region}:123456789012:function:{name}"),
    "Group": ("logs:CreateLogGroup", "arn:aws:logs:{region}:123456789012:log-group:{name}"),
    "MetricAlarm": ("cloudwatch:PutMetricAlarm", "arn:aws:cloudwatch:{region}:123456789012:alarm:{name}"),
    "Queue": ("sqs:CreateQueue", "arn:aws:sqs:{region}:123456789012:{name}"),
    "Role": ("iam:CreateRole", "arn:aws:iam::123456789012:role/{name}"),
    "Rule": ("events:PutRule", "arn:aws:events:{region}:123456789012:rule/{name}"),
    "Topic": ("sns:CreateTopic", "arn:aws:sns:{region}:123456789012:{name}"),
}


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_providers_may_make_what_claims_and_add_ons_ask_for_and_not_another_clusters(
    cluster: str, managed: list[Rendered]
) -> None:
    (other,) = set(CLUSTERS) - {cluster}
    asked = [item for item in managed if item.kind in NEEDS and cluster in item.origin.replace("/", " ").split()]
    assert {item.kind for item in asked} == set(NEEDS)
    for item in asked:
        action, resource = needed(item.manifest)
        provider = f"provider-aws-{service_of(item)}"
        assert allows(of_cluster(cluster)[provider], action, resource), f"{item.name}: {action} on {resource}"
    for item in managed:
        if item.kind in NEEDS and other in item.origin.replace("/", " ").split():
            action, resource = needed(item.manifest)
            assert not allows(of_cluster(cluster)[f"provider-aws-{service_of(item)}"], action, resource)


def needed(manifest: Manifest) -> tuple[str, str]:
    settings: dict[str, Any] = manifest["spec"]["forProvider"]
    external = manifest["metadata"].get("annotations", {}).get("crossplane.io/external-name")
    action, arn = NEEDS[manifest["kind"]]
    name = external or settings.get("name") or manifest["metadata"]["name"]
    return action, arn.format(**{"region": "", **settings, "name": name})


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_the_provider_of_roles_cannot_change_its_own_nor_the_nodes(cluster: str) -> None:
    found = of_cluster(cluster)
    provider = found["provider-aws-iam"]
    stack = {"production": "darkroom"}.get(cluster, cluster)
    for role in [*(identity.role for identity in found.values()), names.NODE_ROLE.name(stack)]:
        assert not allows(provider, "iam:PutRolePolicy", f"arn:aws:iam::123456789012:role/{role}")


def test_keda_sees_how_long_queues_are_and_nothing_else() -> None:
    (statement,) = of_cluster("production")["keda-operator"].statements
    assert statement["Action"] == ["sqs:GetQueueAttributes"]
    assert statement["Resource"] == ["arn:aws:sqs:us-west-2:123456789012:darkroom_*"]


def test_models_are_read_and_never_written() -> None:
    actions = {
        action
        for statement in of_cluster("production")["s3-csi-driver-sa"].statements
        for action in statement["Action"]
    }
    assert actions == {"s3:ListBucket", "s3:GetObject"}


def test_karpenter_hears_of_everything_that_takes_nodes_away() -> None:
    folder = ROOT / "clusters" / "production" / "rendered" / "add-ons" / "karpenter"
    made = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")}
    rules = {name: manifest for name, manifest in made.items() if manifest["kind"] == "Rule"}
    heard = {json.loads(rule["spec"]["forProvider"]["eventPattern"])["detail-type"][0] for rule in rules.values()}
    assert heard == {
        "AWS Health Event",
        "EC2 Instance Rebalance Recommendation",
        "EC2 Instance State-change Notification",
        "EC2 Spot Instance Interruption Warning",
    }
    queue = "arn:aws:sqs:us-west-2:123456789012:darkroom-karpenter-interruption"
    (events, _) = json.loads(made["queuepolicy"]["spec"]["forProvider"]["policy"])["Statement"]
    for name, rule in rules.items():
        target = made[name.replace("rule", "target")]["spec"]["forProvider"]
        assert target["arn"] == queue
        assert target["ruleRef"] == {"name": rule["metadata"]["name"]}
        arn = f"arn:aws:events:us-west-2:123456789012:rule/{rule['metadata']['name']}"
        assert arn in events["Condition"]["ArnEquals"]["aws:SourceArn"]


def test_alert_rules_are_over_metrics_that_agents_have() -> None:
    rules = yaml.safe_load((ROOT / "apps/observability/prometheus/prometheusrule.yaml").read_text())
    expressions = " ".join(rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"])
    used = set(re.findall(r"darkroom_[a-z_]+", expressions))
    source = Path(metrics.__file__).read_text()
    documented = set(re.findall(r"`(darkroom_[a-z_]+)", (ROOT / "agent" / "README.md").read_text()))
    assert used
    assert {re.sub("_(count|sum|bucket)$", "", name) for name in used} <= documented
    for name in used:
        assert re.sub("^darkroom_agent_|_(count|sum|bucket|total)$", "", name) in source
