"""The add-ons of a cluster: what each is installed from, and what it is told of the cluster.

What is the same in every cluster is in `apps/<add-on>/values.yaml`, which Argo CD reads from git beside the chart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from generator import names
from generator.model import Config

Manifest = dict[str, Any]

# Sync waves. The root Application waits for each wave, so Crossplane is there before its packages, those are before
# managed resources such as Karpenter's queue, and all of them are before our own APIs.
ARGOCD_WAVE, CROSSPLANE_WAVE, PACKAGES_WAVE, OTHERS_WAVE = -10, 0, 1, 5


@dataclass(frozen=True)
class Chart:
    """A Helm chart, at exactly one version.

    Attributes:
        repository: Address of a chart repository, or an OCI registry and path without scheme, as Argo CD wants it.
    """

    repository: str
    name: str
    version: str


def nothing(_: Config) -> Manifest:
    """Return no values: the cluster makes no difference."""
    return {}


@dataclass(frozen=True)
class AddOn:
    """One Application of the platform.

    Attributes:
        name: Its name, which is that of its folder below `apps/`, too.
        switch: The key of `cluster.addOns` that switches it off.
        chart: What it is installed from; None if its folder has all its manifests.
        facts: Values of the chart that differ between clusters.
        path: A folder of manifests that go with it, relative to the repository's root.
        rendered: Whether manifests are rendered for it below `clusters/<cluster>/rendered/add-ons/<name>/`.
        essential: Whether runtimes need it. They wait until it is healthy, and for no other.
        differences: What Argo CD leaves alone, since somebody else sets it.
    """

    name: str
    switch: str
    namespace: str
    wave: int
    chart: Chart | None = None
    facts: Callable[[Config], Manifest] = nothing
    path: str = ""
    rendered: bool = False
    essential: bool = True
    differences: tuple[Manifest, ...] = field(default=())

    def enabled(self, config: Config) -> bool:
        """Return whether a cluster has it."""
        return bool(config.add_ons[self.switch])


def karpenter(config: Config) -> Manifest:
    """Return what Karpenter is told of the cluster."""
    return {
        "settings": {
            "clusterName": config.cluster_name,
            "interruptionQueue": names.INTERRUPTION_QUEUE.name(config.stack_name),
        },
        # Pods are kept from the metadata of their instance, which would tell the region otherwise.
        "controller": {"env": [{"name": "AWS_REGION", "value": config.cluster.region}]},
    }


def observability(config: Config) -> Manifest:
    """Return what the CloudWatch agent and Fluent Bit are told of the cluster."""
    return {"clusterName": config.cluster_name, "region": config.cluster.region}


ADD_ONS = (
    AddOn(
        "argocd",
        "argocd",
        names.ARGOCD_NAMESPACE,
        ARGOCD_WAVE,
        Chart("https://argoproj.github.io/argo-helm", "argo-cd", "10.10.2"),
    ),
    AddOn(
        "crossplane",
        "crossplane",
        names.CROSSPLANE_NAMESPACE,
        CROSSPLANE_WAVE,
        Chart("https://charts.crossplane.io/stable", "crossplane", "2.2.1"),
    ),
    AddOn(
        names.CROSSPLANE_PACKAGES,
        "crossplane",
        names.CROSSPLANE_NAMESPACE,
        PACKAGES_WAVE,
        path="apps/crossplane/packages",
    ),
    AddOn(
        "keda",
        "keda",
        "keda",
        OTHERS_WAVE,
        Chart("https://kedacore.github.io/charts", "keda", "2.21.0"),
        # The operator makes the certificate, and puts it there.
        differences=(
            {
                "group": "admissionregistration.k8s.io",
                "kind": "ValidatingWebhookConfiguration",
                "jqPathExpressions": [".webhooks[].clientConfig.caBundle"],
            },
            {"group": "apiregistration.k8s.io", "kind": "APIService", "jsonPointers": ["/spec/caBundle"]},
        ),
    ),
    AddOn(
        "karpenter",
        "karpenter",
        "karpenter",
        OTHERS_WAVE,
        Chart("public.ecr.aws/karpenter", "karpenter", "1.15.0"),
        facts=karpenter,
        rendered=True,
    ),
    AddOn(
        "storage-s3",
        "storage_s3",
        "kube-system",
        OTHERS_WAVE,
        Chart("https://awslabs.github.io/mountpoint-s3-csi-driver", "aws-mountpoint-s3-csi-driver", "2.8.0"),
    ),
    AddOn(
        "storage-efs",
        "storage_efs",
        "kube-system",
        OTHERS_WAVE,
        Chart("https://kubernetes-sigs.github.io/aws-efs-csi-driver", "aws-efs-csi-driver", "4.4.2"),
    ),
    AddOn(
        "observability",
        "observability",
        "amazon-cloudwatch",
        OTHERS_WAVE,
        Chart("https://aws-observability.github.io/helm-charts", "amazon-cloudwatch-observability", "6.3.0"),
        facts=observability,
        rendered=True,
        essential=False,
        # The chart makes certificates anew each time that it is rendered.
        differences=(
            {"group": "", "kind": "Secret", "jsonPointers": ["/data"]},
            {
                "group": "admissionregistration.k8s.io",
                "kind": "MutatingWebhookConfiguration",
                "jqPathExpressions": [".webhooks[].clientConfig.caBundle"],
            },
            {
                "group": "admissionregistration.k8s.io",
                "kind": "ValidatingWebhookConfiguration",
                "jqPathExpressions": [".webhooks[].clientConfig.caBundle"],
            },
        ),
    ),
    AddOn(
        "prometheus-rules",
        "prometheus_rules",
        "amazon-cloudwatch",
        OTHERS_WAVE,
        path="apps/observability/prometheus",
        essential=False,
    ),
)


def enabled(config: Config) -> Iterator[AddOn]:
    """Yield the add-ons of a cluster."""
    yield from (add_on for add_on in ADD_ONS if add_on.enabled(config))


def values_file(add_on: AddOn) -> str:
    """Return the path of the values that an add-on has in every cluster, relative to the repository's root."""
    return f"apps/{add_on.name}/values.yaml"


def sources(add_on: AddOn, config: Config, rendered: str) -> list[Manifest]:
    """Return what Argo CD makes an add-on from.

    Args:
        rendered: Path of the folder of rendered manifests of add-ons.
    """
    repository = {"repoURL": config.cluster.repository.url, "targetRevision": config.cluster.repository.revision}
    found: list[Manifest] = []
    if chart := add_on.chart:
        helm: Manifest = {"releaseName": add_on.name, "valueFiles": [f"$repository/{values_file(add_on)}"]}
        if facts := add_on.facts(config):
            helm["valuesObject"] = facts
        where = {"repoURL": chart.repository, "chart": chart.name, "targetRevision": chart.version}
        found += [{**where, "helm": helm}, {**repository, "ref": "repository"}]
    folders = [add_on.path] * bool(add_on.path) + [f"{rendered}/{add_on.name}"] * add_on.rendered
    return found + [{**repository, "path": folder, "directory": {"recurse": True}} for folder in folders]
