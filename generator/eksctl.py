"""What bootstrap/eks makes a cluster on AWS of: eksctl's ClusterConfig, and the roles of nodes and add-ons.

These files never go to the cluster, so they are apart from what Argo CD reads.
"""

import json
from typing import Any

from generator import names
from generator.identities import Identity, identities
from generator.model import Config

Manifest = dict[str, Any]

FOLDER = "bootstrap"
CLUSTER_FILE, ROLES_FILE = "eksctl", "roles"
NODE_GROUP = "system"
POD_IDENTITY_AGENT = "eks-pod-identity-agent"
# In the order in which nodes need them.
EKS_ADD_ONS = ("vpc-cni", "kube-proxy", POD_IDENTITY_AGENT, "coredns")
LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
SYSTEM_VOLUME_GIBIBYTES = 50

# https://docs.aws.amazon.com/eks/latest/userguide/create-node-role.html, and Systems Manager: Bottlerocket has no SSH.
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonSSMManagedInstanceCore")
# On a cluster of ours the CNI has a role of its own.
CNI_POLICY = "AmazonEKS_CNI_Policy"


def files(config: Config) -> dict[str, Manifest]:
    """Return the files by name: the cluster unless it is there already, and the roles if there are any."""
    found = {} if config.cluster.existing else {CLUSTER_FILE: cluster_config(config)}
    template = roles(config)
    return found | ({ROLES_FILE: template} if template["Resources"] else {})


def cluster_config(config: Config) -> Manifest:
    """Return the cluster as eksctl makes it."""
    cluster, eks, nodes = config.cluster, config.cluster.eks, config.cluster_components
    metadata = {"name": config.cluster_name, "region": cluster.region, "version": eks.version}
    access: Manifest = {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": True}
    if eks.administrators:
        access["accessEntries"] = [_administrator(cluster.partition, arn) for arn in eks.administrators]
    made: Manifest = {
        "apiVersion": "eksctl.io/v1alpha5",
        "kind": "ClusterConfig",
        "metadata": metadata | ({"tags": cluster.tags} if cluster.tags else {}),
        "iam": {"withOIDC": False},
        "accessConfig": access,
        "vpc": {
            "cidr": eks.vpc_cidr,
            "nat": {"gateway": eks.nat_gateways},
            "clusterEndpoints": {"privateAccess": True, "publicAccess": True},
            "publicAccessCIDRs": list(eks.api_allowed_cidrs),
        },
        "addons": [_eks_add_on(name) for name in EKS_ADD_ONS],
        "managedNodeGroups": [
            {
                "name": NODE_GROUP,
                "amiFamily": "Bottlerocket",
                "instanceType": nodes.instance_type,
                "desiredCapacity": nodes.desired_count,
                "minSize": nodes.desired_count,
                "maxSize": nodes.desired_count + 1,
                "privateNetworking": True,
                "volumeSize": SYSTEM_VOLUME_GIBIBYTES,
                "volumeEncrypted": True,
                "disableIMDSv1": True,
                "disablePodIMDS": True,
                "updateConfig": {"maxUnavailable": 1},
            }
            | ({"tags": cluster.tags} if cluster.tags else {})
        ],
        "cloudWatch": {
            "clusterLogging": {"enableTypes": list(LOG_TYPES), "logRetentionInDays": eks.log_retention_days}
        },
    }
    if eks.encryption_key_arn:
        made["secretsEncryption"] = {"keyARN": eks.encryption_key_arn}
    return made


def roles(config: Config) -> Manifest:
    """Return the CloudFormation template of roles, and of the S3 endpoint by which nodes load models and images."""
    resources: Manifest = {}
    if config.add_ons["karpenter"]:
        resources["NodeRole"] = _node_role(config)
    for identity in identities(config):
        resources[_logical(identity.role)] = _role(config, identity)
    if resources:
        resources["S3Endpoint"] = {
            "Type": "AWS::EC2::VPCEndpoint",
            "Condition": "MakesEndpoint",
            "Properties": {
                "VpcEndpointType": "Gateway",
                "ServiceName": f"com.amazonaws.{config.cluster.region}.s3",
                "VpcId": {"Ref": "VpcId"},
                "RouteTableIds": {"Ref": "RouteTableIds"},
            },
        }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Roles of the nodes and add-ons of the cluster {config.cluster_name}",
        "Parameters": {
            "VpcId": {"Type": "String", "Description": "The VPC of the cluster."},
            "RouteTableIds": {
                "Type": "CommaDelimitedList",
                "Description": "Route tables of its private subnets; empty where they have an endpoint of S3.",
                "Default": "",
            },
        },
        "Conditions": {
            "MakesEndpoint": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "RouteTableIds"}]}, ""]}]}
        },
        "Resources": resources,
    }


def _administrator(partition: str, arn: str) -> Manifest:
    policy = f"arn:{partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
    return {"principalARN": arn, "accessPolicies": [{"policyARN": policy, "accessScope": {"type": "cluster"}}]}


def _eks_add_on(name: str) -> Manifest:
    if name != "vpc-cni":
        return {"name": name}
    return {
        "name": name,
        # A role of its own, so that nodes, and whoever breaks out of a pod, cannot change the network.
        "useDefaultPodIdentityAssociations": True,
        # Without it nothing heeds the NetworkPolicies of the runtimes.
        "configurationValues": json.dumps({"enableNetworkPolicy": "true"}),
    }


def _node_role(config: Config) -> Manifest:
    partition = config.cluster.partition
    policies = (*NODE_POLICIES, CNI_POLICY) if config.cluster.existing else NODE_POLICIES
    service = f"ec2.{'amazonaws.com.cn' if partition == 'aws-cn' else 'amazonaws.com'}"
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": ["sts:AssumeRole"]}
    return _iam_role(
        config,
        names.NODE_ROLE.name(config.stack_name),
        trust,
        {"ManagedPolicyArns": [f"arn:{partition}:iam::aws:policy/{policy}" for policy in policies]},
    )


def _role(config: Config, identity: Identity) -> Manifest:
    tag = "aws:RequestTag"
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        # What EKS says of the pod; nobody else's pod, in no other cluster of the account, gets the role.
        "Condition": {
            "StringEquals": {
                f"{tag}/eks-cluster-name": config.cluster_name,
                f"{tag}/kubernetes-namespace": identity.namespace,
                f"{tag}/kubernetes-service-account": identity.service_account,
            }
        },
    }
    policy = {"PolicyName": "resources", "PolicyDocument": identity.policy}
    return _iam_role(config, identity.role, trust, {"Policies": [policy]})


def _iam_role(config: Config, name: str, trust: Manifest, more: Manifest) -> Manifest:
    tags = [{"Key": key, "Value": value} for key, value in config.cluster.tags.items()]
    properties = {
        "RoleName": name,
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
        **more,
        **({"Tags": tags} if tags else {}),
    }
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def _logical(role: str) -> str:
    """Return what CloudFormation calls a role: letters and digits."""
    return "".join(part.capitalize() for part in role.split("-"))
