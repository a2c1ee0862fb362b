"""The claim that resources are made for, and what all of its managed resources have."""

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

# AWS's partitions and their domains, by how the names of their regions start; every other region is in `aws`.
PARTITIONS = {
    "cn-": ("aws-cn", "amazonaws.com.cn"),
    "us-gov-": ("aws-us-gov", "amazonaws.com"),
    "eusc-": ("aws-eusc", "amazonaws.eu"),
}

# All management policies but Delete: what has these outlives the claim.
KEPT = ["Observe", "Create", "Update", "LateInitialize"]

# The kinds whose things in AWS can be tagged. A BucketObject could, too, but with ten tags at most.
TAGGED = frozenset(
    {
        "APIKey",
        "Bucket",
        "EventSourceMapping",
        "Function",
        "Group",
        "MetricAlarm",
        "PodIdentityAssociation",
        "Queue",
        "RestAPI",
        "Role",
        "Rule",
        "Stage",
        "Topic",
        "UsagePlan",
    }
)


def partition(region: str) -> str:
    """Return the AWS partition of `region`."""
    return next((name for start, (name, _) in PARTITIONS.items() if region.startswith(start)), "aws")


def domain(region: str) -> str:
    """Return what the names of AWS's hosts in `region` end with."""
    return next((name for start, (_, name) in PARTITIONS.items() if region.startswith(start)), "amazonaws.com")


@dataclass(frozen=True)
class Owner:
    """The claim that resources are made for, and where in AWS they are.

    Attributes:
        name: Name of the claim; starts the name of everything that is made for it in Kubernetes.
        namespace: Namespace of the claim and of everything that is made for it.
        region, account_id: Where everything in AWS is.
        tags: What everything in AWS is tagged with.
    """

    name: str
    namespace: str
    region: str
    account_id: str
    tags: dict[str, str]

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource by its name, which is known before the resource is there."""
        return f"arn:{partition(self.region)}:{service}:{self.region}:{self.account_id}:{resource}"

    def role_arn(self, name: str) -> str:
        """Return the ARN of an IAM role."""
        return f"arn:{partition(self.region)}:iam::{self.account_id}:role/{name}"

    def bucket_arn(self, bucket: str, key: str = "") -> str:
        """Return the ARN of a bucket, or of objects in it where `key` says which: it may have asterisks."""
        return f"arn:{partition(self.region)}:s3:::{bucket}" + (f"/{key}" if key else "")

    def managed(
        self, service: str, kind: str, purpose: str, settings: Manifest, external_name: str | None = None
    ) -> Manifest:
        """Return a managed resource in the claim's namespace.

        Args:
            service: First part of the API group, such as `s3`.
            kind: Kind in that group.
            purpose: Ends the name, which starts with that of the claim. Kubernetes names have no dots of their own
                here, so these names are no other claim's.
            settings: `spec.forProvider` without region and tags.
            external_name: Name in AWS, for kinds that take it from an annotation.
        """
        metadata: Manifest = {"name": f"{self.name}.{purpose}", "namespace": self.namespace}
        if external_name:
            metadata["annotations"] = {"crossplane.io/external-name": external_name}
        # IAM is the same in all regions.
        where = {} if service == "iam" else {"region": self.region}
        tags = {"tags": self.tags} if self.tags and kind in TAGGED else {}
        return {
            "apiVersion": f"{service}.aws.m.upbound.io/v1beta1",
            "kind": kind,
            "metadata": metadata,
            "spec": {"forProvider": {**where, **settings, **tags}},
        }

    def reference(self, purpose: str) -> Manifest:
        """Return what another managed resource of the claim refers to `purpose` by."""
        return {"name": f"{self.name}.{purpose}"}
