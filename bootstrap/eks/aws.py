"""What bootstrap asks of AWS itself, beside what eksctl makes."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.exceptions import ClientError

from generator import names
from generator.identities import Identity

Manifest = dict[str, Any]

SPOT = "spot.amazonaws.com"


@dataclass(frozen=True)
class Network:
    """Where nodes are launched.

    Attributes:
        subnets: The private subnets of the cluster; all of them if it has no private ones.
        security_group: The one that EKS made for the cluster.
        tagged: Whether all of these bear Karpenter's tag.
    """

    vpc: str
    subnets: tuple[str, ...]
    security_group: str
    tagged: bool


@dataclass(frozen=True)
class Aws:
    """AWS, about one cluster in one region."""

    region: str
    cluster_name: str

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    def client(self, service: str) -> Any:
        """Return the client of a service in the cluster's region."""
        if service not in self._clients:
            self._clients[service] = boto3.client(service, region_name=self.region)  # type: ignore[call-overload]
        return self._clients[service]

    def account_id(self) -> str:
        """Return whose credentials these are."""
        return str(self.client("sts").get_caller_identity()["Account"])

    def cluster(self) -> Manifest | None:
        """Return the EKS cluster as AWS describes it, or None."""
        try:
            found: Manifest = self.client("eks").describe_cluster(name=self.cluster_name)["cluster"]
        except self.client("eks").exceptions.ResourceNotFoundException:
            return None
        return found

    def active(self) -> bool:
        """Return whether the cluster is there and serves."""
        return (self.cluster() or {}).get("status") in ("ACTIVE", "UPDATING")

    def wait_active(self) -> None:
        """Wait for a cluster that somebody is making."""
        self.client("eks").get_waiter("cluster_active").wait(name=self.cluster_name)

    def node_group(self, name: str) -> str:
        """Return the status of a node group, empty if it is not there."""
        eks = self.client("eks")
        try:
            found = eks.describe_nodegroup(clusterName=self.cluster_name, nodegroupName=name)["nodegroup"]
        except eks.exceptions.ResourceNotFoundException:
            return ""
        return str(found["status"])

    def wait_node_group(self, name: str) -> None:
        """Wait for a node group that somebody is making."""
        waiter = self.client("eks").get_waiter("nodegroup_active")
        waiter.wait(clusterName=self.cluster_name, nodegroupName=name)

    def eks_add_ons(self) -> set[str]:
        """Return the names of the cluster's EKS add-ons."""
        return set(self.client("eks").list_addons(clusterName=self.cluster_name)["addons"])

    def network(self) -> Network:
        """Return where nodes are launched."""
        described = (self.cluster() or {})["resourcesVpcConfig"]
        ec2 = self.client("ec2")
        all_subnets = ec2.describe_subnets(SubnetIds=described["subnetIds"])["Subnets"]
        subnets = [item for item in all_subnets if not item["MapPublicIpOnLaunch"]] or all_subnets
        ids = tuple(sorted(item["SubnetId"] for item in subnets))
        group = described["clusterSecurityGroupId"]
        wanted = [{"Name": "resource-id", "Values": [*ids, group]}, {"Name": "key", "Values": [names.DISCOVERY_TAG]}]
        tags = ec2.describe_tags(Filters=wanted)["Tags"]
        bearers = {tag["ResourceId"] for tag in tags if tag["Value"] == self.cluster_name}
        return Network(described["vpcId"], ids, group, bearers >= {*ids, group})

    def tag(self, network: Network) -> None:
        """Let Karpenter find where nodes are launched."""
        tags = [{"Key": names.DISCOVERY_TAG, "Value": self.cluster_name}]
        self.client("ec2").create_tags(Resources=[*network.subnets, network.security_group], Tags=tags)

    def untag(self, network: Network) -> None:
        """Take Karpenter's tag away again."""
        tags = [{"Key": names.DISCOVERY_TAG, "Value": self.cluster_name}]
        self.client("ec2").delete_tags(Resources=[*network.subnets, network.security_group], Tags=tags)

    def route_tables_without_endpoint(self, network: Network, stack: str) -> list[str]:
        """Return the route tables of the nodes' subnets that reach S3 by NAT, or by the endpoint of `stack`."""
        ec2 = self.client("ec2")
        subnets = [{"Name": "association.subnet-id", "Values": list(network.subnets)}]
        tables = {table["RouteTableId"] for table in ec2.describe_route_tables(Filters=subnets)["RouteTables"]}
        in_vpc = [{"Name": "vpc-id", "Values": [network.vpc]}]
        for endpoint in ec2.describe_vpc_endpoints(Filters=in_vpc)["VpcEndpoints"]:
            tags = {tag["Key"]: tag["Value"] for tag in endpoint.get("Tags", [])}
            others = tags.get("aws:cloudformation:stack-name") != stack
            if endpoint["ServiceName"] == f"com.amazonaws.{self.region}.s3" and others:
                tables -= set(endpoint.get("RouteTableIds", []))
        return sorted(tables)

    def identities(self) -> dict[tuple[str, str], Manifest]:
        """Return the pod identity associations of the cluster, by namespace and service account."""
        eks = self.client("eks")
        found = {}
        for page in eks.get_paginator("list_pod_identity_associations").paginate(clusterName=self.cluster_name):
            for item in page["associations"]:
                asked = {"clusterName": self.cluster_name, "associationId": item["associationId"]}
                described = eks.describe_pod_identity_association(**asked)["association"]
                found[described["namespace"], described["serviceAccount"]] = described
        return found

    def make_identities(self, wanted: Iterable[Identity], role_arn: str, ours: str) -> None:
        """Give each service account its role, and take away what add-ons do not have any more.

        Args:
            role_arn: ARN of a role, with `{}` where its name goes.
            ours: What the ARNs of add-ons' roles start with.
        """
        eks, present = self.client("eks"), self.identities()
        by_account = {(item.namespace, item.service_account): role_arn.format(item.role) for item in wanted}
        for (namespace, account), role in by_account.items():
            there = present.get((namespace, account))
            if not there:
                eks.create_pod_identity_association(
                    clusterName=self.cluster_name, namespace=namespace, serviceAccount=account, roleArn=role
                )
            elif there["roleArn"] != role:
                eks.update_pod_identity_association(
                    clusterName=self.cluster_name, associationId=there["associationId"], roleArn=role
                )
        for key, item in present.items():
            if key not in by_account and item["roleArn"].startswith(ours):
                eks.delete_pod_identity_association(clusterName=self.cluster_name, associationId=item["associationId"])

    def lets_in(self, role_arn: str) -> bool:
        """Return whether nodes with a role may join the cluster."""
        pages = self.client("eks").get_paginator("list_access_entries").paginate(clusterName=self.cluster_name)
        return any(role_arn in page["accessEntries"] for page in pages)

    def let_in(self, role_arn: str) -> None:
        """Let nodes with a role join the cluster."""
        self.client("eks").create_access_entry(clusterName=self.cluster_name, principalArn=role_arn, type="EC2_LINUX")

    def keep_out(self, role_arn: str) -> None:
        """Let nodes with a role join the cluster no more."""
        self.client("eks").delete_access_entry(clusterName=self.cluster_name, principalArn=role_arn)

    def has_spot_role(self) -> bool:
        """Return whether there is the role without which an account cannot buy spot instances."""
        return bool(self.client("iam").list_roles(PathPrefix=f"/aws-service-role/{SPOT}/")["Roles"])

    def make_spot_role(self) -> None:
        """Make that role."""
        self.client("iam").create_service_linked_role(AWSServiceName=SPOT)

    def has_bucket(self, name: str) -> bool:
        """Return whether a bucket is there and may be read."""
        try:
            self.client("s3").head_bucket(Bucket=name)
        except ClientError:
            return False
        return True

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with everything in it, old versions too."""
        bucket = boto3.resource("s3", region_name=self.region).Bucket(name)
        bucket.object_versions.delete()
        bucket.objects.all().delete()
        bucket.delete()
