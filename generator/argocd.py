"""Argo CD's own kinds: Applications, the projects that say what they may do, and the root that all others come from."""

from typing import Any

from generator import addons, names
from generator.addons import AddOn
from generator.model import Config

Manifest = dict[str, Any]

# Heeded by the health check of Applications in apps/argocd/values.yaml, too, so that no wave waits.
IGNORE_HEALTH = "argocd.argoproj.io/ignore-healthcheck"

SERVER = "https://kubernetes.default.svc"

# What runtimes and claims are made of, by API group: nothing else goes into the cluster on their account. Runtimes with
# a chart of people's own may have anything in their namespaces, and no more than this outside of them.
CLUSTER_KINDS = {
    "": ("Namespace", "PersistentVolume"),
    "karpenter.k8s.aws": ("EC2NodeClass",),
    "karpenter.sh": ("NodePool",),
}
NAMESPACED_KINDS = {
    "": ("ConfigMap", "PersistentVolumeClaim", "ServiceAccount"),
    "apps": ("Deployment",),
    "darkroom.dev": ("InferenceAPI", "InferenceRuntime"),
    "keda.sh": ("ScaledObject", "TriggerAuthentication"),
    "monitoring.coreos.com": ("PodMonitor",),
    "networking.k8s.io": ("NetworkPolicy",),
    "policy": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io": ("Role", "RoleBinding"),
}

# The driver of S3 makes this namespace itself, for the pods that mount buckets.
S3_MOUNTS_NAMESPACE = "mount-s3"


def repository(config: Config) -> Manifest:
    """Return what says which commit of this repository an Application is made from."""
    where = config.cluster.repository
    return {"repoURL": where.url, "targetRevision": where.revision}


def application(name: str, wave: int, source: Manifest, namespace: str, project: str = names.PROJECT) -> Manifest:
    """Return an Application.

    Args:
        wave: Its sync wave among the root Application's.
        source: What it is made from.
        namespace: Where what names no namespace goes.
    """
    backoff = {"duration": "10s", "factor": 2, "maxDuration": "5m"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {
            "name": name,
            "namespace": names.ARGOCD_NAMESPACE,
            "annotations": {"argocd.argoproj.io/sync-wave": str(wave)},
            # What the Application made goes with it.
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
        },
        "spec": {
            "project": project,
            "source": source,
            "destination": {"server": SERVER, "namespace": namespace},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                # A queue or a node takes minutes: go on trying for an hour or so, with what git says by then.
                "retry": {"limit": 15, "backoff": backoff, "refresh": True},
                "syncOptions": ["ServerSideApply=true"],
            },
        },
    }


def add_on_application(config: Config, add_on: AddOn, rendered: str) -> Manifest:
    """Return the Application of an add-on.

    Args:
        rendered: Path of the folder of rendered manifests of add-ons.
    """
    made = application(add_on.name, add_on.wave, {}, add_on.namespace, names.PLATFORM_PROJECT)
    metadata, spec = made["metadata"], made["spec"]
    if not add_on.essential:
        # Whatever becomes of it holds up nothing else.
        metadata["annotations"][IGNORE_HEALTH] = "true"
    if add_on.name == names.ARGOCD:
        # Argo CD must not take itself away while it takes away others.
        del metadata["finalizers"]
    del spec["source"]
    made["spec"] = {"project": spec.pop("project"), "sources": addons.sources(add_on, config, rendered), **spec}
    options = made["spec"]["syncPolicy"]["syncOptions"]
    options.append("CreateNamespace=true")
    if add_on.differences:
        options.append("RespectIgnoreDifferences=true")
        made["spec"]["ignoreDifferences"] = list(add_on.differences)
    return made


def root(config: Config, applications: str) -> Manifest:
    """Return the Application of all Applications and projects, itself among them: what bootstrap applies first.

    Args:
        applications: Path of the folder that they are in.
    """
    source = {**repository(config), "path": applications, "directory": {"recurse": True}}
    made = application(names.ROOT, 0, source, names.ARGOCD_NAMESPACE, names.PLATFORM_PROJECT)
    # Taking it away, by mistake too, leaves everything as it is. bootstrap/eks takes the others away one by one.
    del made["metadata"]["finalizers"]
    # It is one of its own resources, and would wait for itself.
    made["metadata"]["annotations"] |= {"argocd.argoproj.io/sync-options": "Prune=false", IGNORE_HEALTH: "true"}
    return made


def platform_project(config: Config) -> Manifest:
    """Return the project of what runs the cluster: from this repository and the charts' alone, into its namespaces."""
    enabled = list(addons.enabled(config))
    charts = {add_on.chart.repository for add_on in enabled if add_on.chart}
    namespaces = {add_on.namespace for add_on in enabled} | {
        names.ARGOCD_NAMESPACE,
        names.CROSSPLANE_NAMESPACE,
        # Charts put roles there, by which the API server's own configuration may be read.
        "kube-system",
    }
    if config.add_ons["storage_s3"]:
        namespaces.add(S3_MOUNTS_NAMESPACE)
    description = "What runs the cluster: add-ons, our APIs, and the other Applications."
    everything = [{"group": "*", "kind": "*"}]
    return _project(
        names.PLATFORM_PROJECT,
        description,
        sorted({config.cluster.repository.url} | charts),
        sorted(namespaces),
        # Operators bring definitions, webhooks and roles of their own, which differ with every version.
        {"clusterResourceWhitelist": everything, "namespaceResourceWhitelist": everything},
    )


def project(config: Config) -> Manifest:
    """Return the project of claims and runtimes, which may make what they are made of, in their namespaces."""
    runtimes = config.runtimes.values()
    charts = {source["repoURL"] for source in map(own_chart, runtimes) if source}
    namespaces = {names.PLATFORM_NAMESPACE} | {runtime.namespace for runtime in runtimes}
    namespaced = [{"group": "*", "kind": "*"}] if charts else _kinds(NAMESPACED_KINDS)
    return _project(
        names.PROJECT,
        "Claims and runtimes.",
        sorted({config.cluster.repository.url} | charts),
        sorted(namespaces),
        {"clusterResourceWhitelist": _kinds(CLUSTER_KINDS), "namespaceResourceWhitelist": namespaced},
    )


def own_chart(runtime: Any) -> Manifest:
    """Return where a runtime's own chart is, as Argo CD is told; empty if it is the one of this repository."""
    scheme, _, address = runtime.own_chart.partition("://")
    if not scheme:
        return {}
    if scheme == "oci":
        # Argo CD wants a registry without scheme, and the chart apart from it.
        address, _, chart = address.rpartition("/")
        return {"repoURL": address, "chart": chart, "targetRevision": runtime.chart_version}
    address, _, chart = runtime.own_chart.partition("#")
    return {"repoURL": address, "chart": chart or names.GUIDANCE_CHART, "targetRevision": runtime.chart_version}


def _kinds(by_group: dict[str, tuple[str, ...]]) -> list[Manifest]:
    return [{"group": group, "kind": kind} for group, kinds in sorted(by_group.items()) for kind in kinds]


def _project(
    name: str, description: str, repositories: list[str], namespaces: list[str], kinds: dict[str, list[Manifest]]
) -> Manifest:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {
            "name": name,
            "namespace": names.ARGOCD_NAMESPACE,
            # Applications cannot come before it, and what goes last is it.
            "annotations": {
                "argocd.argoproj.io/sync-wave": "-20",
                "argocd.argoproj.io/sync-options": "Prune=false",
            },
        },
        "spec": {
            "description": description,
            "sourceRepos": repositories,
            "destinations": [{"server": SERVER, "namespace": namespace} for namespace in namespaces],
            **kinds,
        },
    }
