"""From a Config to the text of every file that is generated from it. Nothing here reads or writes anything."""

from collections.abc import Callable, Iterable
from typing import Any

from generator import addons, argocd, chart, eksctl, managed, names, packages, reference, tree
from generator.composition import OPENAPI, Api, composition, joined, openapi_module
from generator.model import Config, Runtime

Manifest = dict[str, Any]

# The namespace that every cluster has, of those that runtimes may be in.
KUBERNETES_NAMESPACE = "default"

# Sync waves. The root Application waits for each of its Applications' wave, so the APIs exist before the claims, and a
# runtime's queue is asked for before its pods. Add-ons come before all of these.
APIS_WAVE, CLAIMS_WAVE, RUNTIMES_WAVE = 10, 20, 30

# Data goes with these objects, so somebody has to say yes, whether the object leaves git or the Application goes.
# Asking holds up the whole Application: right for the InferenceAPI, without which nothing works. A namespace leaves git
# whenever its last runtime does, and just stays.
# https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#resource-pruning-with-confirmation
ASK_BEFORE_DELETION = {"argocd.argoproj.io/sync-options": "Prune=confirm,Delete=confirm"}
KEEP_UNLESS_ASKED = {"argocd.argoproj.io/sync-options": "Prune=false,Delete=confirm"}


def build(config: Config, cluster: str, source: str) -> tree.Files:
    """Return the files of one cluster.

    Args:
        cluster: Path of the cluster's folder.
        source: Path of its config.yaml. Both are relative to the repository's root.
    """
    runtimes = list(config.runtimes.values())
    used = {names.PLATFORM_NAMESPACE} | {runtime.namespace for runtime in runtimes}
    applications = f"{cluster}/rendered/applications"
    claims = f"{cluster}/rendered/claims"
    manifests = {
        f"{applications}/{names.CROSSPLANE_APIS}.yaml": crossplane_apis_application(config),
        f"{applications}/{names.CLAIMS}.yaml": claims_application(config, claims),
        f"{claims}/inference-api.yaml": inference_api(config),
    }
    manifests |= {
        f"{applications}/{names.ROOT}.yaml": argocd.root(config, applications),
        f"{applications}/projects/{names.PROJECT}.yaml": argocd.project(config),
        f"{applications}/projects/{names.PLATFORM_PROJECT}.yaml": argocd.platform_project(config),
    }
    rendered = f"{cluster}/rendered/add-ons"
    for add_on in addons.enabled(config):
        path = f"{applications}/add-ons/{add_on.name}.yaml"
        manifests[path] = argocd.add_on_application(config, add_on, rendered)
        for name, manifest in managed.files(config, add_on.name).items():
            manifests[f"{rendered}/{add_on.name}/{name}.yaml"] = manifest
    for name, manifest in eksctl.files(config).items():
        manifests[f"{cluster}/rendered/{eksctl.FOLDER}/{name}.yaml"] = manifest
    for namespace in used - {KUBERNETES_NAMESPACE}:
        manifests[f"{claims}/namespaces/{namespace}.yaml"] = namespace_manifest(namespace)
    for runtime in runtimes:
        manifests[f"{claims}/runtimes/{runtime.name}.yaml"] = inference_runtime(config, runtime)
        manifests[f"{applications}/runtimes/{runtime.name}.yaml"] = runtime_application(config, runtime)
    return {path: tree.yaml_text(manifest, source) for path, manifest in manifests.items()}


def build_shared(apis: Iterable[Api], document: Manifest, source: Callable[[str], str]) -> tree.Files:
    """Return the files that are generated once for all clusters.

    Args:
        apis: Our own Kubernetes APIs.
        document: The job API's OpenAPI document.
        source: Returns the text of the module of a name.
    """
    modules = {OPENAPI: openapi_module(document)}

    def text_of(module: str) -> str:
        return modules[module] if module in modules else source(module)

    compositions = {
        f"{api.folder}/composition.yaml": tree.yaml_text(
            composition(api, joined(api.module, text_of)),
            f"{api.folder}/compose.py, what it imports, and {api.folder}/definition.yaml",
        )
        for api in apis
    }
    crossplane = {path: tree.yaml_text(made, "generator/packages.py") for path, made in packages.files().items()}
    return compositions | {
        **crossplane,
        **{f"{module.replace('.', '/')}.py": text for module, text in modules.items()},
        "clusters/config.schema.json": reference.schema_text(),
        "docs/reference.md": reference.markdown(),
        **chart.files(),
    }


def namespace_manifest(name: str) -> Manifest:
    """Return a Namespace, which is there before anything that goes into it."""
    annotations = {"argocd.argoproj.io/sync-wave": "0", **KEEP_UNLESS_ASKED}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations}}


def inference_api(config: Config) -> Manifest:
    """Return the claim of the cluster's API, with the table that it routes jobs by."""
    cluster, gateway = config.cluster, config.api_gateway
    api, outputs, alarms = cluster.api, cluster.outputs, cluster.alarms
    spec: Manifest = {
        "region": cluster.region,
        "accountId": cluster.account_id,
        "clusterName": config.cluster_name,
        "tags": cluster.tags,
        "tracing": cluster.tracing,
        "function": {
            "image": cluster.api_image,
            "architecture": api.architecture,
            "memoryMegabytes": api.memory_megabytes,
        },
        "stageName": gateway.stage_name,
        "apiKey": {"required": api.key_required},
        "throttle": {"rateLimit": gateway.throttle.rate_limit, "burstLimit": gateway.throttle.burst_limit},
        "logs": {
            "retentionDays": api.log_retention_days,
            "access": api.access_log,
            "accountRole": api.account_log_role,
        },
        "alarms": {"topicArn": alarms.topic_arn} if alarms.topic_arn else {},
        "outputs": {
            "retentionDays": outputs.retention_days,
            "recordRetentionDays": outputs.record_retention_days,
            "uploadRetentionDays": outputs.upload_retention_days,
            "deletionPolicy": outputs.deletion_policy,
            "corsAllowedOrigins": list(outputs.cors_allowed_origins),
        },
        "runtimes": [route(runtime) for runtime in config.runtimes.values()],
    }
    spec["outputs"] = {key: value for key, value in spec["outputs"].items() if value is not None}
    return {
        "apiVersion": "darkroom.dev/v1alpha1",
        "kind": "InferenceAPI",
        "metadata": {
            "name": names.INFERENCE_API.name(config.stack_name),
            "namespace": names.PLATFORM_NAMESPACE,
            "annotations": {"argocd.argoproj.io/sync-wave": "1", **ASK_BEFORE_DELETION},
        },
        "spec": spec,
    }


def route(runtime: Runtime) -> Manifest:
    """Return the line of the routing table for a runtime: it serves one model, or any, or what nobody here knows."""
    entry: Manifest = {"name": runtime.name, "namespace": runtime.namespace, "type": runtime.type}
    if runtime.dynamic_model:
        entry["dynamic"] = True
    elif runtime.model:
        entry["model"] = runtime.model
    return entry


def inference_runtime(config: Config, runtime: Runtime) -> Manifest:
    """Return the claim of what a runtime needs of AWS."""
    api = {"name": names.INFERENCE_API.name(config.stack_name), "namespace": names.PLATFORM_NAMESPACE}
    return {
        "apiVersion": "darkroom.dev/v1alpha1",
        "kind": "InferenceRuntime",
        "metadata": {
            "name": runtime.name,
            "namespace": runtime.namespace,
            "labels": {names.API_LABEL: api["name"]},
            "annotations": {"argocd.argoproj.io/sync-wave": "2"},
        },
        "spec": {
            "apiRef": api,
            "inputBuckets": list(config.cluster.input_buckets),
            "alarms": {"oldestJobSeconds": config.cluster.alarms.oldest_job_seconds},
        },
    }


def crossplane_apis_application(config: Config) -> Manifest:
    """Return the Application of our own Kubernetes APIs."""
    # Other files of those folders are sources and examples.
    directory = {"recurse": True, "include": "{*/definition.yaml,*/composition.yaml}"}
    source = {**argocd.repository(config), "path": "apps/crossplane/apis", "directory": directory}
    return argocd.application(
        names.CROSSPLANE_APIS, APIS_WAVE, source, names.CROSSPLANE_NAMESPACE, names.PLATFORM_PROJECT
    )


def claims_application(config: Config, claims: str) -> Manifest:
    """Return the Application of everything below the path `claims`."""
    source = {**argocd.repository(config), "path": claims, "directory": {"recurse": True}}
    return argocd.application(names.CLAIMS, CLAIMS_WAVE, source, names.PLATFORM_NAMESPACE)


def runtime_application(config: Config, runtime: Runtime) -> Manifest:
    """Return the Application of a runtime: a release of its Helm chart."""
    helm = {"releaseName": names.RELEASE.name(config.stack_name, runtime.name), "valuesObject": values(config, runtime)}
    name = names.APPLICATION.name(config.stack_name, runtime.name)
    application = argocd.application(name, RUNTIMES_WAVE, {**_chart(config, runtime), "helm": helm}, runtime.namespace)
    if runtime.extra_values.pods.scaling.enabled:
        # KEDA decides how many replicas there are.
        application["spec"]["syncPolicy"]["syncOptions"].append("RespectIgnoreDifferences=true")
        application["spec"]["ignoreDifferences"] = [
            {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}
        ]
    return application


def values(config: Config, runtime: Runtime) -> Manifest:
    """Return the Helm values of a runtime: what people set and what the platform fills in. Defaults are the chart's."""
    given = runtime.extra_values.given()
    karpenter, pods = given["karpenter"], {"type": runtime.type, **given["runtime"]}
    if not karpenter.get("existingNodePool"):
        template = karpenter.setdefault("nodeTemplate", {})
        discovery = {names.DISCOVERY_TAG: config.cluster_name}
        template |= {
            "iamRole": names.NODE_ROLE.name(config.stack_name),
            "securityGroupSelector": discovery,
            "subnetSelector": discovery,
        }
        if config.cluster.tags:
            template["tags"] = {**config.cluster.tags, **template.get("tags", {})}
    if runtime.model:
        pods.setdefault("inferenceApi", {})["modelFilename"] = runtime.model
    if runtime.dynamic_model:
        pods.setdefault("queueAgent", {})["dynamicModel"] = True
    persistence = pods.setdefault("persistence", {})
    if config.model_bucket:
        persistence.setdefault("s3", {})["modelBucket"] = config.model_bucket
    elif not _has_models(persistence):
        # There is nothing to mount, and a pod would wait for it for ever.
        persistence.setdefault("enabled", False)
    platform = {
        "awsRegion": config.cluster.region,
        "stackName": config.stack_name,
        "runtime": runtime.name,
        "imageRegistry": config.cluster.image_registry,
    }
    return {"global": platform, "karpenter": karpenter, "runtime": pods}


def _has_models(persistence: Manifest) -> bool:
    """Return whether people name a volume of models of their own."""
    own = ("existingClaim", "existingVolume", "storageClass")
    return any(persistence.get(key) for key in own) or bool(persistence.get("efs", {}).get("fileSystemId"))


def _chart(config: Config, runtime: Runtime) -> Manifest:
    return argocd.own_chart(runtime) or {**argocd.repository(config), "path": "runtimes/chart"}
