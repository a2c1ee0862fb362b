"""Crossplane's packages: a provider for each service of AWS that is used, and the functions of compositions.

Which kinds the API server gets, and whose role may do what, comes from one table. A test holds it against what is made.
"""

from dataclasses import dataclass
from typing import Any

from generator import names

Manifest = dict[str, Any]

REGISTRY = "xpkg.crossplane.io/crossplane-contrib"
# The version whose definitions tests check managed resources against: tools/schemas/go.mod.
PROVIDERS_VERSION = "v2.5.0"
FAMILY = "provider-family-aws"
FUNCTIONS = {"function-python": "v0.5.0", "function-auto-ready": "v0.5.0"}

FOLDER = "apps/crossplane/packages"


@dataclass(frozen=True)
class Provider:
    """The provider of one service.

    Attributes:
        service: First part of the API group of its kinds.
        kinds: Those that are used, with the plural that their definitions have.
    """

    service: str
    kinds: dict[str, str]

    @property
    def package(self) -> str:
        """Name of the package."""
        return f"provider-aws-{self.service}"


PROVIDERS = (
    Provider(
        "apigateway",
        {
            "APIKey": "apikeys",
            "Account": "accounts",
            "Deployment": "deployments",
            "MethodSettings": "methodsettings",
            "RestAPI": "restapis",
            "Stage": "stages",
            "UsagePlan": "usageplans",
            "UsagePlanKey": "usageplankeys",
        },
    ),
    Provider("cloudcontrol", {"Resource": "resources"}),
    Provider("cloudwatch", {"Dashboard": "dashboards", "MetricAlarm": "metricalarms"}),
    Provider("cloudwatchevents", {"Rule": "rules", "Target": "targets"}),
    Provider("cloudwatchlogs", {"Group": "groups"}),
    Provider("eks", {"PodIdentityAssociation": "podidentityassociations"}),
    Provider("iam", {"Role": "roles", "RolePolicy": "rolepolicies"}),
    Provider(
        "lambda",
        {"EventSourceMapping": "eventsourcemappings", "Function": "functions", "Permission": "permissions"},
    ),
    Provider(
        "s3",
        {
            "Bucket": "buckets",
            "BucketCorsConfiguration": "bucketcorsconfigurations",
            "BucketLifecycleConfiguration": "bucketlifecycleconfigurations",
            "BucketObject": "bucketobjects",
            "BucketOwnershipControls": "bucketownershipcontrols",
            "BucketPolicy": "bucketpolicies",
            "BucketPublicAccessBlock": "bucketpublicaccessblocks",
            "BucketServerSideEncryptionConfiguration": "bucketserversideencryptionconfigurations",
        },
    ),
    Provider("sns", {"Topic": "topics", "TopicPolicy": "topicpolicies", "TopicSubscription": "topicsubscriptions"}),
    Provider("sqs", {"Queue": "queues", "QueuePolicy": "queuepolicies"}),
)


def files() -> dict[str, Manifest]:
    """Return the manifests of `apps/crossplane/packages`, by path. They are the same in every cluster."""
    made = {f"functions/{name}": function(name, version) for name, version in FUNCTIONS.items()}
    made[f"providers/{FAMILY}"] = package(FAMILY, runtime_config="idle")
    made["runtime-configs/idle"] = runtime_config("idle", "crossplane-idle")
    for provider in PROVIDERS:
        made[f"providers/{provider.package}"] = package(provider.package, runtime_config=provider.package)
        made[f"runtime-configs/{provider.package}"] = runtime_config(provider.package, provider.package)
    made["managedresourceactivationpolicy"] = activation_policy()
    made["clusterproviderconfig"] = provider_config()
    return {f"{FOLDER}/{path}.yaml": manifest for path, manifest in made.items()}


def function(name: str, version: str) -> Manifest:
    """Return a function, under the name that compositions call it by."""
    metadata = {"name": f"crossplane-contrib-{name}"}
    return {
        "apiVersion": "pkg.crossplane.io/v1",
        "kind": "Function",
        "metadata": metadata,
        "spec": {"package": f"{REGISTRY}/{name}:{version}"},
    }


def package(name: str, runtime_config: str) -> Manifest:
    """Return a provider. Its name is the one that Crossplane gives to a package that others depend on."""
    config = {"apiVersion": "pkg.crossplane.io/v1beta1", "kind": "DeploymentRuntimeConfig", "name": runtime_config}
    return {
        "apiVersion": "pkg.crossplane.io/v1",
        "kind": "Provider",
        "metadata": {"name": f"crossplane-contrib-{name}"},
        "spec": {"package": f"{REGISTRY}/{name}:{PROVIDERS_VERSION}", "runtimeConfigRef": config},
    }


def runtime_config(name: str, service_account: str) -> Manifest:
    """Return how the pod of a provider runs: as a service account of its own, so that each has a role of its own."""
    container = {
        "name": "package-runtime",
        "resources": {"requests": {"cpu": "25m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    }
    pod = {"metadata": {}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "pkg.crossplane.io/v1beta1",
        "kind": "DeploymentRuntimeConfig",
        "metadata": {"name": name, "annotations": {"argocd.argoproj.io/sync-wave": "-1"}},
        "spec": {
            "deploymentTemplate": {"spec": {"selector": {}, "template": pod}},
            "serviceAccountTemplate": {"metadata": {"name": service_account}},
        },
    }


def activation_policy() -> Manifest:
    """Return which kinds the API server gets: all of a provider's would be hundreds, at a megabyte each."""
    active = [
        f"{plural}.{provider.service}.aws.m.upbound.io"
        for provider in PROVIDERS
        for plural in sorted(provider.kinds.values())
    ]
    return {
        "apiVersion": "apiextensions.crossplane.io/v1alpha1",
        "kind": "ManagedResourceActivationPolicy",
        "metadata": {"name": names.PROJECT, "annotations": {"argocd.argoproj.io/sync-wave": "-1"}},
        "spec": {"activate": active},
    }


def provider_config() -> Manifest:
    """Return how providers get at AWS: as what their service accounts are in EKS. Managed resources name none else."""
    return {
        "apiVersion": "aws.m.upbound.io/v1beta1",
        "kind": "ClusterProviderConfig",
        "metadata": {
            "name": "default",
            "annotations": {
                # The family's provider brings this kind, and is healthy then.
                "argocd.argoproj.io/sync-wave": "1",
                "argocd.argoproj.io/sync-options": "SkipDryRunOnMissingResource=true",
            },
        },
        "spec": {"credentials": {"source": "PodIdentity"}},
    }
