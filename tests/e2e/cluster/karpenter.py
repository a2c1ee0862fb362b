"""Karpenter, with EC2 simulated: it launches instances that are not there, and kwok plays their nodes and pods."""

import json
from pathlib import Path
from typing import Any

import boto3
import yaml

from generator import addons, names
from generator.load import load
from generator.model import Config
from tests.e2e.cluster import ec2
from tests.e2e.cluster.components import ACCOUNT, REGION, ROOT
from tests.e2e.cluster.images import Image, push
from tests.e2e.cluster.places import EMULATOR_PORT, KUBECONFIG, NODE
from tests.e2e.cluster.platform import kubectl, run, wait_for_deployments
from tools.install import CONTROL_PLANE, install
from tools.modules import download

EC2, EMULATOR = f"http://{NODE}:{ec2.PORT}", f"http://{NODE}:{EMULATOR_PORT}"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
ZONES = {f"{REGION}a": "10.0.0.0/24", f"{REGION}b": "10.0.1.0/24"}
# Karpenter's simulation makes the nodes of its instances itself, and keeps its instances in the cluster.
RULES_OF_SIMULATION = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
]


def install_karpenter() -> None:
    """Install the charts of Karpenter's and kwok's releases, and in AWS what `bootstrap/eks` makes for Karpenter."""
    config = _config()
    _make_aws(config)
    _install_kwok()
    _install_karpenter(config)
    wait_for_deployments("kwok")
    wait_for_deployments("karpenter")


def announce_interruption(instance: str) -> None:
    """Put what EventBridge says when a spot instance is about to be taken into the queue that Karpenter listens to."""
    sqs = _client("sqs", EMULATOR)
    url = sqs.get_queue_url(QueueName=names.INTERRUPTION_QUEUE.name(_config().stack_name))["QueueUrl"]
    event = {
        "version": "0",
        "id": "00000000-0000-0000-0000-000000000000",
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "source": "aws.ec2",
        "account": ACCOUNT,
        "time": "2026-01-01T00:00:00Z",
        "region": REGION,
        "resources": [f"arn:aws:ec2:{REGION}a:instance/{instance}"],
        "detail": {"instance-id": instance, "instance-action": "terminate"},
    }
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))


def _config() -> Config:
    path = ROOT / "tests" / "e2e" / "config.yaml"
    return load(path.read_text(), path.name).config


def _make_aws(config: Config) -> None:
    """Make the network, the nodes' role and the cluster that Karpenter looks for, and the queue that it listens to."""
    discovery = [{"Key": names.DISCOVERY_TAG, "Value": config.cluster_name}]
    cloud, iam = _client("ec2", EC2), _client("iam", EC2)
    vpc = cloud.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    for zone, addresses in ZONES.items():
        tags = [{"ResourceType": "subnet", "Tags": discovery}]
        cloud.create_subnet(VpcId=vpc, AvailabilityZone=zone, CidrBlock=addresses, TagSpecifications=tags)
    tags = [{"ResourceType": "security-group", "Tags": discovery}]
    cloud.create_security_group(VpcId=vpc, GroupName="nodes", Description="Nodes", TagSpecifications=tags)
    role = names.NODE_ROLE.name(config.stack_name)
    iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    _client("eks", EC2).create_cluster(
        name=config.cluster_name,
        version=ec2.KUBERNETES,
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}",
        resourcesVpcConfig={},
    )
    _client("sqs", EMULATOR).create_queue(QueueName=names.INTERRUPTION_QUEUE.name(config.stack_name))


def _install_kwok() -> None:
    """Install kwok, which by its chart plays only nodes that are annotated as its own, and never the real one."""
    module, version = download("sigs.k8s.io/kwok"), CONTROL_PLANE["kwok"].version
    push(Image(f"kwok/kwok:{version}", {"bin/kwok": install("kwok")}, {"Entrypoint": ["/bin/kwok"]}))
    kubectl("apply", "--server-side", f"--filename={module / 'kustomize' / 'crd' / 'bases'}")
    _helm("kwok", module / "charts" / "kwok", "kwok", {"image": {"tag": version}})
    _helm("stages", module / "charts" / "stage-fast", "kwok", {})


def _install_karpenter(config: Config) -> None:
    """Install Karpenter with the values of `apps/karpenter`, and those that git gives it beside them."""
    module, version = download("github.com/aws/karpenter-provider-aws"), CONTROL_PLANE["karpenter"].version
    program = {"bin/karpenter": install("karpenter")}
    push(Image(f"karpenter/controller:{version}", program, {"Entrypoint": ["/bin/karpenter"]}))
    kubectl("apply", "--server-side", f"--filename={module / 'pkg' / 'apis' / 'crds'}")
    environ = CREDENTIALS | {"AWS_ENDPOINT_URL": EMULATOR}
    environ |= {f"AWS_ENDPOINT_URL_{service}": EC2 for service in ("EC2", "EKS", "IAM", "PRICING", "SSM")}
    values = addons.karpenter(config)
    values["controller"]["env"] += [{"name": name, "value": value} for name, value in environ.items()]
    values["controller"]["image"] = {"tag": version, "digest": ""}
    values["additionalClusterRoleRules"] = RULES_OF_SIMULATION
    values["replicas"] = 1  # two do not share a node, and there is one
    ours = ROOT / "apps" / "karpenter" / "values.yaml"
    _helm("karpenter", module / "charts" / "karpenter", "karpenter", values, f"--values={ours}")


def _helm(release: str, chart: Path, namespace: str, values: dict[str, Any], *arguments: str) -> None:
    """Install a chart. `values` win over those that `arguments` name."""
    where = [f"--kubeconfig={KUBECONFIG}", f"--namespace={namespace}", "--create-namespace"]
    command = [str(install("helm")), "install", release, str(chart), *where, *arguments, "--values=-"]
    run(*command, stdin=yaml.safe_dump(values))


def _client(service: str, url: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
