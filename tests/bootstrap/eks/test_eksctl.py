"""What is rendered for eksctl and CloudFormation, and whom it lets do what."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.generator.cases import CLUSTER, CLUSTERS, manifests
from tests.policy import iam
from tests.policy.rendered import Rendered

Manifest = dict[str, Any]

BASE = f"modelsRuntime: [{{name: sdruntime}}]\n{CLUSTER}"
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html: of a template in a request.
LONGEST_TEMPLATE_BYTES = 51_200
RENDERED = [path.parent / "rendered" / "bootstrap" for path in CLUSTERS if path.parent.name != "local"]


def cluster_of(text: str) -> Manifest:
    """Return eksctl's ClusterConfig of a config.yaml."""
    return manifests(text)["bootstrap/eksctl.yaml"]


def roles_of(text: str) -> Manifest:
    """Return the roles of a config.yaml by their names."""
    resources = manifests(text)["bootstrap/roles.yaml"]["Resources"].values()
    return {
        item["Properties"]["RoleName"]: item["Properties"] for item in resources if item["Type"] == "AWS::IAM::Role"
    }


def test_nodes_are_private_encrypted_and_as_many_as_the_configuration_says() -> None:
    [group] = cluster_of(f"clusterComponents: {{instanceType: m7g.xlarge, desiredCount: 3}}\n{BASE}")[
        "managedNodeGroups"
    ]
    assert (group["instanceType"], group["desiredCapacity"], group["minSize"]) == ("m7g.xlarge", 3, 3)
    assert group["privateNetworking"]
    assert group["volumeEncrypted"]
    assert group["disableIMDSv1"]
    assert group["disablePodIMDS"]


def test_network_policies_are_enforced_and_pods_can_get_roles() -> None:
    add_ons = {item["name"]: item for item in cluster_of(BASE)["addons"]}
    assert json.loads(add_ons["vpc-cni"]["configurationValues"]) == {"enableNetworkPolicy": "true"}
    assert "eks-pod-identity-agent" in add_ons


def test_the_cluster_has_what_its_configuration_says_of_it() -> None:
    given = """  tags: {team: pictures}
  eks:
    version: "1.36"
    natGateways: HighlyAvailable
    apiAllowedCidrs: [192.0.2.0/24]
    administrators: ["arn:aws:iam::123456789012:role/admins"]
    encryptionKeyArn: arn:aws:kms:us-west-2:123456789012:key/0a1b
"""
    made = cluster_of(BASE + given)
    assert made["metadata"] == {
        "name": "sdoneks",
        "region": "us-west-2",
        "version": "1.36",
        "tags": {"team": "pictures"},
    }
    assert made["vpc"]["nat"] == {"gateway": "HighlyAvailable"}
    assert made["vpc"]["publicAccessCIDRs"] == ["192.0.2.0/24"]
    assert made["secretsEncryption"] == {"keyARN": "arn:aws:kms:us-west-2:123456789012:key/0a1b"}
    [entry] = made["accessConfig"]["accessEntries"]
    assert entry["principalARN"] == "arn:aws:iam::123456789012:role/admins"


def test_nothing_is_made_of_a_cluster_that_is_there() -> None:
    assert "bootstrap/eksctl.yaml" not in manifests(f"{BASE}  existing: true\n")
    assert "bootstrap/roles.yaml" in manifests(f"{BASE}  existing: true\n")


def test_nodes_of_an_existing_cluster_may_run_its_network_themselves() -> None:
    def policies(text: str) -> set[str]:
        return {arn.rpartition("/")[2] for arn in roles_of(text)["sdoneks-karpenter-node"]["ManagedPolicyArns"]}

    assert policies(f"{BASE}  existing: true\n") - policies(BASE) == {"AmazonEKS_CNI_Policy"}


def test_roles_are_only_for_the_service_account_that_they_are_of() -> None:
    [trust] = roles_of(BASE)["sdoneks-add-on-keda"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {
        "aws:RequestTag/eks-cluster-name": "sdoneks",
        "aws:RequestTag/kubernetes-namespace": "keda",
        "aws:RequestTag/kubernetes-service-account": "keda-operator",
    }


def test_an_add_on_that_is_switched_off_has_no_role() -> None:
    assert "sdoneks-add-on-keda" not in roles_of(f"{BASE}  addOns: {{keda: false}}\n")
    assert "sdoneks-karpenter-node" not in roles_of(f"{BASE}  addOns: {{karpenter: false}}\n")


@pytest.mark.parametrize("folder", RENDERED, ids=lambda folder: folder.parent.parent.name)
def test_no_role_allows_whatever_actions_there_are_nor_any_resource_without_saying_so(folder: Path) -> None:
    template = yaml.safe_load((folder / "roles.yaml").read_text())
    item = Rendered("roles.yaml", {"kind": "Template", "metadata": {"name": "roles"}, **template})
    # Statements whose actions can name no resource say so by how their name ends.
    nowhere = {
        action
        for statement in iam.statements(template)
        if statement.get("Sid", "").endswith("Anywhere")
        for action in statement["Action"]
    }
    found = [
        finding
        for finding in iam.find([item])
        if not (finding.check == "named-resource" and finding.subject in nowhere)
    ]
    assert found == []


@pytest.mark.parametrize("folder", RENDERED, ids=lambda folder: folder.parent.parent.name)
def test_cloudformation_takes_the_template_as_it_is(folder: Path) -> None:
    text = json.dumps(yaml.safe_load((folder / "roles.yaml").read_text()), separators=(",", ":"))
    assert len(text.encode()) < LONGEST_TEMPLATE_BYTES


def test_no_name_of_a_role_is_longer_than_iam_allows() -> None:
    longest = "s" * 24
    roles = roles_of(f"stackName: {longest}\n{BASE}")
    assert all(len(name) <= 64 for name in roles)
    assert len(roles) > 5
