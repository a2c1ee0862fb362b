"""The guidance's tables of parameters, walked: each in the object and field that it should be in, and nowhere else."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from generator import chart as generated
from generator.section import Section
from tests.generator.cases import CLUSTER, values
from tests.runtimes.chart import Chart, Leaves, Manifest, leaves

POD = "Deployment.spec.template.spec"
AGENT = f"{POD}.containers[queue-agent]"
SERVER = f"{POD}.initContainers[inference-api]"
XRAY = f"{POD}.initContainers[xray-daemon]"
POOL = "NodePool.spec"
CLASS = "EC2NodeClass.spec"
OS, DATA = f"{CLASS}.blockDeviceMappings[/dev/xvda].ebs", f"{CLASS}.blockDeviceMappings[/dev/xvdb].ebs"
SCALED = "ScaledObject.spec"
TRIGGER = f"{SCALED}.triggers[aws-sqs-queue].metadata"
BEHAVIOR = f"{SCALED}.advanced.horizontalPodAutoscalerConfig.behavior"
VOLUME, CLAIM = "PersistentVolume.spec", "PersistentVolumeClaim.spec"
MODELS = f"{SERVER}.volumeMounts[/opt/ml/code/models]"

# In the place of a value: it is there no more.
GONE = object()
# At the end of a path: everything below it.
ALL = ".*"


@dataclass(frozen=True)
class Row:
    """One parameter.

    Attributes:
        place: Where people write it, from the runtime's entry in config.yaml.
        value: Something that is not its default.
        lands: What is different then in what Helm renders; nothing else may be.
        needs: What else has to be set for it to count, by place.
    """

    place: str
    value: Any
    lands: Leaves
    needs: tuple[tuple[str, Any], ...] = ()


def of_pods(place: str) -> str:
    return f"extraValues.runtime.{place}"


def of_nodes(place: str) -> str:
    return f"extraValues.karpenter.{place}"


def env(container: str, name: str, value: str) -> Leaves:
    return {f"{container}.env[{name}].name": name, f"{container}.env[{name}].value": value}


def gone(container: str, name: str) -> Leaves:
    return {f"{container}.env[{name}].name": GONE, f"{container}.env[{name}].value": GONE}


def probes(seconds: int, misses: int) -> Leaves:
    return {
        "Deployment.spec.progressDeadlineSeconds": seconds + 900,
        f"{SERVER}.startupProbe.failureThreshold": seconds,
        f"{SERVER}.livenessProbe.failureThreshold": misses,
    }


def grace(seconds: int) -> Leaves:
    return {
        f"{POD}.terminationGracePeriodSeconds": seconds,
        f"{POOL}.template.spec.terminationGracePeriod": f"{seconds + 3600}s",
    }


BEHAVED = {"scaleDown": {"stabilizationWindowSeconds": 300}}
RULE = {"ports": [{"protocol": "TCP", "port": 8443}]}

ENTRY = [
    Row("modelFilename", "b.ckpt", {f"{box}.env[SD_MODEL_CHECKPOINT].value": "b.ckpt" for box in (SERVER, AGENT)}),
    Row(
        "dynamicModel",
        True,
        {
            key: value
            for box in (SERVER, AGENT)
            for key, value in (env(box, "DYNAMIC_SD_MODEL", "true") | gone(box, "SD_MODEL_CHECKPOINT")).items()
        },
    ),
    Row(
        "type",
        "comfyui",
        {
            "Deployment.metadata.labels.runtime-type": "comfyui",
            "Deployment.spec.template.metadata.annotations.checksum/sdwebui": GONE,
            f"ConfigMap-sdwebui{ALL}": GONE,
            f"{POD}.volumes[sdwebui]{ALL}": GONE,
            f"{SERVER}.volumeMounts[/tmp/config.json]{ALL}": GONE,
            f"{SERVER}.image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom/comfyui:0.1.0",
            f"{SERVER}.startupProbe.httpGet.path": "/system_stats",
            f"{SERVER}.livenessProbe.httpGet.path": "/system_stats",
            **env(AGENT, "RUNTIME_TYPE", "comfyui"),
            **{key: GONE for name in ("API_ONLY", "CONFIG_FILE", "SD_MODEL_CHECKPOINT") for key in gone(SERVER, name)},
            **gone(AGENT, "SD_MODEL_CHECKPOINT"),
        },
    ),
]

PROVISIONER = [
    Row(
        of_nodes("provisioner.labels"),
        {"a": "b"},
        {f"{POOL}.template.metadata.labels.a": "b", f"{POOL}.template.metadata.annotations": {}},
    ),
    Row(
        of_nodes("provisioner.annotations"),
        {"a": "b"},
        {f"{POOL}.template.metadata.annotations.a": "b", f"{POOL}.template.metadata.labels": {}},
    ),
    Row(
        of_nodes("provisioner.capacityType.spot"),
        False,
        {
            f"{POOL}.template.spec.requirements[karpenter.sh/capacity-type].values[0]": "on-demand",
            f"{POOL}.template.spec.requirements[karpenter.sh/capacity-type].values[1]": GONE,
        },
    ),
    Row(
        of_nodes("provisioner.capacityType.onDemand"),
        False,
        {f"{POOL}.template.spec.requirements[karpenter.sh/capacity-type].values[1]": GONE},
    ),
    Row(
        of_nodes("provisioner.instanceType"),
        ["g6.xlarge", "g5.2xlarge"],
        {f"{POOL}.template.spec.requirements[node.kubernetes.io/instance-type].values[0]": "g6.xlarge"},
    ),
    Row(
        of_nodes("provisioner.extraRequirements"),
        [{"key": "zone", "operator": "Exists"}],
        {
            f"{POOL}.template.spec.requirements[zone].key": "zone",
            f"{POOL}.template.spec.requirements[zone].operator": "Exists",
        },
    ),
    Row(
        of_nodes("provisioner.extraTaints"),
        [{"key": "team", "value": "a", "effect": "NoExecute"}],
        {
            f"{POOL}.template.spec.taints[team].key": "team",
            f"{POOL}.template.spec.taints[team].value": "a",
            f"{POOL}.template.spec.taints[team].effect": "NoExecute",
            # Without which no pod of the runtime would get onto its nodes.
            f"{POD}.tolerations[team].key": "team",
            f"{POD}.tolerations[team].operator": "Equal",
            f"{POD}.tolerations[team].value": "a",
            f"{POD}.tolerations[team].effect": "NoExecute",
        },
    ),
    Row(of_nodes("provisioner.resourceLimits"), {"cpu": 400}, {f"{POOL}.limits.cpu": "400"}),
    Row(of_nodes("provisioner.resourceLimits"), {"nvidia.com/gpu": 8}, {f"{POOL}.limits.nvidia.com/gpu": "8"}),
    Row(of_nodes("provisioner.consolidation"), False, {f"{POOL}.disruption.consolidationPolicy": "WhenEmpty"}),
    Row(of_nodes("provisioner.disruption.consolidateAfter"), "5m", {f"{POOL}.disruption.consolidateAfter": "5m"}),
    Row(of_nodes("provisioner.disruption.expireAfter"), "720h", {f"{POOL}.template.spec.expireAfter": "720h"}),
    Row(
        of_nodes("provisioner.disruption.terminationGracePeriod"),
        "1h",
        {f"{POOL}.template.spec.terminationGracePeriod": "1h"},
    ),
    Row(
        of_nodes("provisioner.disruption.budgets"),
        [{"nodes": "1"}],
        {
            f"{POOL}.disruption.budgets[0].nodes": "1",
            f"{POOL}.disruption.budgets[0].reasons{ALL}": GONE,
            f"{POOL}.disruption.budgets[1]{ALL}": GONE,
        },
    ),
]

NODE_TEMPLATE = [
    Row(of_nodes("nodeTemplate.tags"), {"a": "b"}, {f"{CLASS}.tags.a": "b"}),
    Row(of_nodes("nodeTemplate.tags"), {"stack": "b"}, {f"{CLASS}.tags.stack": "b"}),
    Row(
        of_nodes("nodeTemplate.amiFamily"),
        "AL2023",
        {
            f"{CLASS}.amiSelectorTerms[bottlerocket@latest].alias": GONE,
            f"{CLASS}.amiSelectorTerms[al2023@latest].alias": "al2023@latest",
            f"{OS}.volumeSize": "100Gi",
            f"{CLASS}.blockDeviceMappings[/dev/xvdb]{ALL}": GONE,
            # Those of Bottlerocket.
            f"{CLASS}.userData": GONE,
        },
    ),
    Row(
        of_nodes("nodeTemplate.amiVersion"),
        "v1.53.0",
        {
            f"{CLASS}.amiSelectorTerms[bottlerocket@latest].alias": GONE,
            f"{CLASS}.amiSelectorTerms[bottlerocket@v1.53.0].alias": "bottlerocket@v1.53.0",
        },
    ),
    Row(of_nodes("nodeTemplate.userData"), "[{{ .Values.global.runtime }}]", {f"{CLASS}.userData": "[sdruntime]\n"}),
    *(
        row
        for key, ebs in (("osVolume", OS), ("dataVolume", DATA))
        for row in (
            Row(of_nodes(f"nodeTemplate.{key}.volumeSize"), "150Gi", {f"{ebs}.volumeSize": "150Gi"}),
            Row(
                of_nodes(f"nodeTemplate.{key}.volumeType"),
                "gp2",
                {f"{ebs}.volumeType": "gp2", f"{ebs}.iops": GONE, f"{ebs}.throughput": GONE},
            ),
            Row(of_nodes(f"nodeTemplate.{key}.deleteOnTermination"), False, {f"{ebs}.deleteOnTermination": False}),
            Row(of_nodes(f"nodeTemplate.{key}.iops"), 6000, {f"{ebs}.iops": 6000}),
            Row(of_nodes(f"nodeTemplate.{key}.throughput"), 500, {f"{ebs}.throughput": 500}),
            Row(
                of_nodes(f"nodeTemplate.{key}.volumeInitializationRate"),
                300,
                {f"{ebs}.volumeInitializationRate": 300},
                ((of_nodes(f"nodeTemplate.{key}.snapshotID"), "snap-0"),),
            ),
        )
    ),
    Row(of_nodes("nodeTemplate.osVolume.snapshotID"), "snap-0", {f"{OS}.snapshotID": "snap-0"}),
    Row(
        of_nodes("nodeTemplate.dataVolume.snapshotID"),
        "snap-0",
        # The instance's own disks, and the other way to keep images, would hide what is on it.
        {f"{DATA}.snapshotID": "snap-0", f"{CLASS}.instanceStorePolicy": GONE, f"{CLASS}.userData": GONE},
    ),
    Row(
        of_nodes("existingNodePool"),
        "other",
        {
            f"NodePool{ALL}": GONE,
            f"EC2NodeClass{ALL}": GONE,
            f"{POD}.nodeSelector.karpenter.sh/nodepool": "other",
            f"{POD}.tolerations[runtime].value": "other",
        },
    ),
]

PODS = [
    Row(of_pods("labels"), {"a": "b"}, {"Deployment.spec.template.metadata.labels.a": "b"}),
    Row(of_pods("annotations"), {"a": "b"}, {"Deployment.spec.template.metadata.annotations.a": "b"}),
    Row(of_pods("replicas"), 3, {"Deployment.spec.replicas": 3}, ((of_pods("scaling.enabled"), False),)),
    Row(
        of_pods("scaling.enabled"),
        False,
        {f"ScaledObject{ALL}": GONE, f"TriggerAuthentication{ALL}": GONE, "Deployment.spec.replicas": 1},
    ),
    Row(of_pods("scaling.queueLength"), 3, {f"{TRIGGER}.queueLength": "3"}),
    Row(of_pods("scaling.cooldownPeriod"), 300, {f"{SCALED}.cooldownPeriod": 300}),
    Row(of_pods("scaling.maxReplicaCount"), 5, {f"{SCALED}.maxReplicaCount": 5}),
    Row(of_pods("scaling.minReplicaCount"), 1, {f"{SCALED}.minReplicaCount": 1}),
    Row(of_pods("scaling.pollingInterval"), 15, {f"{SCALED}.pollingInterval": 15}),
    Row(of_pods("scaling.scaleOnInFlight"), True, {f"{TRIGGER}.scaleOnInFlight": "true"}),
    Row(of_pods("scaling.extraHPAConfig"), BEHAVED, {f"{BEHAVIOR}.scaleDown.stabilizationWindowSeconds": 300}),
    Row(of_pods("extraHPAConfig"), BEHAVED, {f"{BEHAVIOR}.scaleDown.stabilizationWindowSeconds": 300}),
    Row(of_pods("podSecurityContext"), {"runAsUser": 7}, {f"{POD}.securityContext.runAsUser": 7}),
    Row(of_pods("networkPolicy.enabled"), False, {f"NetworkPolicy{ALL}": GONE}),
    Row(
        of_pods("networkPolicy.extraEgress"),
        [RULE],
        {
            "NetworkPolicy.spec.egress[4].ports[0].protocol": "TCP",
            "NetworkPolicy.spec.egress[4].ports[0].port": 8443,
        },
    ),
    Row(of_pods("podDisruptionBudget.enabled"), False, {f"PodDisruptionBudget{ALL}": GONE}),
    Row(of_pods("podDisruptionBudget.maxUnavailable"), "25%", {"PodDisruptionBudget.spec.maxUnavailable": "25%"}),
    Row(of_pods("monitoring.podMonitor.enabled"), True, {f"PodMonitor{ALL}": ...}),
    Row(
        of_pods("monitoring.podMonitor.labels"),
        {"a": "b"},
        {"PodMonitor.metadata.labels.a": "b"},
        ((of_pods("monitoring.podMonitor.enabled"), True),),
    ),
    Row(
        of_pods("monitoring.podMonitor.interval"),
        "10s",
        {"PodMonitor.spec.podMetricsEndpoints[0].interval": "10s"},
        ((of_pods("monitoring.podMonitor.enabled"), True),),
    ),
    Row(of_pods("monitoring.dashboard.enabled"), True, {f"ConfigMap-dashboard{ALL}": ...}),
    Row(
        of_pods("monitoring.dashboard.labels"),
        {"a": "b"},
        {"ConfigMap-dashboard.metadata.labels.a": "b"},
        ((of_pods("monitoring.dashboard.enabled"), True),),
    ),
]

INFERENCE_API = [
    Row(of_pods("inferenceApi.image.repository"), "r.example.com/a", {f"{SERVER}.image": "r.example.com/a:0.1.0"}),
    Row(
        of_pods("inferenceApi.image.tag"),
        "1.10",
        {f"{SERVER}.image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom/sdwebui:1.10"},
    ),
    Row(of_pods("inferenceApi.imagePullPolicy"), "Always", {f"{SERVER}.imagePullPolicy": "Always"}),
    Row(
        of_pods("inferenceApi.modelMountPath"),
        "/m",
        {
            f"{MODELS}{ALL}": GONE,
            f"{SERVER}.env[MODELS_DIR].value": "/m",
            **{
                f"{SERVER}.volumeMounts[/m].{key}": value
                for key, value in {"name": "models", "mountPath": "/m", "readOnly": True}.items()
            },
        },
    ),
    Row(of_pods("inferenceApi.commandArguments"), "--medvram", env(SERVER, "EXTRA_CMD_ARG", "--medvram")),
    # Where the documents of the second version have it.
    Row(of_pods("queueAgent.commandArguments"), "--medvram", env(SERVER, "EXTRA_CMD_ARG", "--medvram")),
    Row(of_pods("inferenceApi.extraEnv"), {"A": "b"}, env(SERVER, "A", "b")),
    Row(of_pods("inferenceApi.extraEnv"), [{"name": "A", "value": "b"}], env(SERVER, "A", "b")),
    Row(of_pods("inferenceApi.extraEnv"), {"API_ONLY": "false"}, {f"{SERVER}.env[API_ONLY].value": "false"}),
    Row(of_pods("inferenceApi.resources.limits"), {"memory": "30Gi"}, {f"{SERVER}.resources.limits.memory": "30Gi"}),
    Row(of_pods("inferenceApi.resources.requests"), {"cpu": 3}, {f"{SERVER}.resources.requests.cpu": "3"}),
    Row(of_pods("inferenceApi.startupSeconds"), 60, probes(60, misses=3)),
    Row(of_pods("inferenceApi.startupSeconds"), 3600, probes(3600, misses=120)),
    Row(
        of_pods("inferenceApi.writablePaths"),
        ["/tmp", "/out"],
        {
            f"{SERVER}.volumeMounts[/out].name": "scratch",
            f"{SERVER}.volumeMounts[/out].mountPath": "/out",
            f"{SERVER}.volumeMounts[/out].subPath": "inference-api/out",
        },
    ),
    Row(
        of_pods("inferenceApi.securityContext"),
        {"readOnlyRootFilesystem": False},
        {f"{SERVER}.securityContext.readOnlyRootFilesystem": False},
    ),
]

QUEUE_AGENT = [
    Row(of_pods("queueAgent.image.repository"), "r.example.com/a", {f"{AGENT}.image": "r.example.com/a:0.1.0"}),
    Row(
        of_pods("queueAgent.image.tag"),
        "sha256:0a",
        {f"{AGENT}.image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom/agent@sha256:0a"},
    ),
    Row(of_pods("queueAgent.imagePullPolicy"), "Never", {f"{AGENT}.imagePullPolicy": "Never"}),
    Row(of_pods("queueAgent.extraEnv"), {"LOGLEVEL": "DEBUG"}, env(AGENT, "LOGLEVEL", "DEBUG")),
    Row(of_pods("queueAgent.resources.limits"), {"cpu": 2}, {f"{AGENT}.resources.limits.cpu": "2"}),
    Row(of_pods("queueAgent.resources.requests"), {"memory": "1Gi"}, {f"{AGENT}.resources.requests.memory": "1Gi"}),
    *(
        Row(
            of_pods(f"queueAgent.{spelling}.enabled"),
            False,
            {
                f"{XRAY}{ALL}": GONE,
                **env(AGENT, "TRACING", "none"),
                **gone(AGENT, "AWS_XRAY_DAEMON_ADDRESS"),
                **gone(AGENT, "AWS_XRAY_CONTEXT_MISSING"),
            },
        )
        for spelling in ("xray", "XRay")
    ),
    Row(
        of_pods("queueAgent.xray.daemon.image.repository"),
        "r.example.com/x",
        {f"{XRAY}.image": "r.example.com/x:3.3.14"},
    ),
    Row(
        of_pods("queueAgent.xray.daemon.image.tag"),
        "3.3.15",
        {f"{XRAY}.image": "public.ecr.aws/xray/aws-xray-daemon:3.3.15"},
    ),
    Row(
        of_pods("queueAgent.otlpEndpoint"),
        "http://collector.example:4318",
        {
            f"{XRAY}{ALL}": GONE,
            **env(AGENT, "TRACING", "otlp"),
            **env(AGENT, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318"),
            **gone(AGENT, "AWS_XRAY_DAEMON_ADDRESS"),
            **gone(AGENT, "AWS_XRAY_CONTEXT_MISSING"),
            "NetworkPolicy.spec.egress[4].to[0].namespaceSelector": {},
            "NetworkPolicy.spec.egress[4].ports[0].protocol": "TCP",
            "NetworkPolicy.spec.egress[4].ports[0].port": 4318,
        },
    ),
    Row(of_pods("queueAgent.jobTimeoutSeconds"), 30, env(AGENT, "JOB_TIMEOUT_SECONDS", "30")),
    Row(of_pods("queueAgent.drainSeconds"), 30, env(AGENT, "DRAIN_SECONDS", "30") | grace(30 + 300 + 60)),
    Row(of_pods("queueAgent.finishSeconds"), 30, env(AGENT, "FINISH_SECONDS", "30") | grace(600 + 30 + 60)),
]

ASKS = "Prune=confirm,Delete=confirm"
# Volumes and claims cannot be changed, so there are others.
OTHER_CLAIM: Leaves = {
    "PersistentVolumeClaim.metadata.name": ...,
    f"{POD}.volumes[models].persistentVolumeClaim.claimName": ...,
}
OTHER_VOLUME: Leaves = {
    **OTHER_CLAIM,
    "PersistentVolume.metadata.name": ...,
    f"{VOLUME}.claimRef.name": ...,
    f"{VOLUME}.csi.volumeHandle": ...,
    f"{CLAIM}.volumeName": ...,
}
WITHOUT_VOLUME = {f"PersistentVolume{ALL}": GONE, f"{CLAIM}.volumeName": GONE}
PERSISTENCE = [
    Row(
        of_pods("persistence.enabled"),
        False,
        {
            f"PersistentVolume{ALL}": GONE,
            f"PersistentVolumeClaim{ALL}": GONE,
            f"{POD}.volumes[models]{ALL}": GONE,
            **gone(SERVER, "MODELS_DIR"),
            f"{MODELS}{ALL}": GONE,
        },
    ),
    Row(
        of_pods("persistence.existingClaim"),
        "mine",
        {
            f"PersistentVolume{ALL}": GONE,
            f"PersistentVolumeClaim{ALL}": GONE,
            f"{POD}.volumes[models].persistentVolumeClaim.claimName": "mine",
        },
    ),
    Row(
        of_pods("persistence.existingVolume"),
        "mine",
        {f"PersistentVolume{ALL}": GONE, f"{CLAIM}.volumeName": "mine", **OTHER_CLAIM},
    ),
    Row(of_pods("persistence.labels"), {"a": "b"}, {"PersistentVolumeClaim.metadata.labels.a": "b"}),
    Row(of_pods("persistence.annotations"), {"a": "b"}, {"PersistentVolumeClaim.metadata.annotations.a": "b"}),
    Row(
        of_pods("persistence.storageClass"),
        "efs-sc",
        {
            **WITHOUT_VOLUME,
            **OTHER_CLAIM,
            f"{CLAIM}.storageClassName": "efs-sc",
            "PersistentVolumeClaim.metadata.annotations.argocd.argoproj.io/sync-options": ASKS,
        },
    ),
    Row(
        of_pods("persistence.size"),
        "1Ti",
        {f"{VOLUME}.capacity.storage": "1Ti", f"{CLAIM}.resources.requests.storage": "1Ti", **OTHER_VOLUME},
    ),
    Row(
        of_pods("persistence.accessModes"),
        ["ReadWriteMany"],
        {f"{VOLUME}.accessModes[0]": "ReadWriteMany", f"{CLAIM}.accessModes[0]": "ReadWriteMany", **OTHER_VOLUME},
    ),
    Row(
        of_pods("persistence.s3.enabled"),
        False,
        {**WITHOUT_VOLUME, **OTHER_CLAIM},
        ((of_pods("persistence.storageClass"), "-"),),
    ),
    Row(
        of_pods("persistence.efs.fileSystemId"),
        "fs-0",
        {
            **OTHER_VOLUME,
            f"{VOLUME}.mountOptions[0]": "ro",
            f"{VOLUME}.mountOptions[1]": GONE,
            f"{VOLUME}.mountOptions[2]": GONE,
            f"{VOLUME}.csi.driver": "efs.csi.aws.com",
            f"{VOLUME}.csi.volumeHandle": "fs-0",
            f"{VOLUME}.csi.volumeAttributes.bucketName": GONE,
            f"{VOLUME}.csi.volumeAttributes.encryptInTransit": "true",
        },
    ),
    Row(
        of_pods("persistence.efs.accessPointId"),
        "fsap-0",
        {**OTHER_VOLUME, f"{VOLUME}.csi.volumeHandle": "fs-0::fsap-0"},
        ((of_pods("persistence.efs.fileSystemId"), "fs-0"),),
    ),
]

ROWS = [*ENTRY, *PROVISIONER, *NODE_TEMPLATE, *PODS, *INFERENCE_API, *QUEUE_AGENT, *PERSISTENCE]
# What has only one value, or means nothing any more.
WITHOUT_A_ROW = {of_nodes("nodeTemplate.instanceStorePolicy")}


def values_of_config(settings: tuple[tuple[str, Any], ...]) -> Manifest:
    """Return the chart's values for a runtime with some settings, each at its place."""
    runtime: Manifest = {"name": "sdruntime", "modelFilename": "a.safetensors"}
    for place, value in settings:
        *sections, key = place.split(".")
        at = runtime
        for section in sections:
            at = at.setdefault(section, {})
        at[key] = value
    config = {"modelBucketArn": "arn:aws:s3:::models", "modelsRuntime": [runtime], **yaml.safe_load(CLUSTER)}
    return values(yaml.safe_dump(config), "sdruntime")


def rendered(chart: Chart, settings: tuple[tuple[str, Any], ...]) -> Leaves:
    """Return what Helm renders for a runtime with some settings."""
    return leaves(chart.render(values_of_config(settings)))


@pytest.fixture(scope="module")
def before(chart: Chart) -> dict[tuple[tuple[str, Any], ...], Leaves]:
    """What is rendered without the parameters, by what they need."""
    return {needs: rendered(chart, needs) for needs in {row.needs for row in ROWS}}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.place.removeprefix("extraValues."))
def test_a_parameter_lands_where_it_should_and_nowhere_else(
    row: Row, chart: Chart, before: dict[tuple[tuple[str, Any], ...], Leaves]
) -> None:
    old, new = before[row.needs], rendered(chart, (*row.needs, (row.place, row.value)))
    changed = {key: new.get(key, GONE) for key in old.keys() | new.keys() if old.get(key, GONE) != new.get(key, GONE)}
    expected: Leaves = {}
    for key, value in row.lands.items():
        below = (
            [found for found in changed if found.startswith((f"{key.removesuffix(ALL)}.", f"{key.removesuffix(ALL)}["))]
            if key.endswith(ALL)
            else [key]
        )
        assert below, f"nothing is different below {key}"
        expected |= {found: changed[found] if value is ... else value for found in below}
    # What has been changed to what it was.
    assert changed == {key: value for key, value in expected.items() if old.get(key, GONE) != value}


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.place.startswith(of_pods(""))],
    ids=lambda row: row.place.removeprefix("extraValues."),
)
def test_the_oldest_spelling_means_the_same(row: Row) -> None:
    settings = (*row.needs, (row.place, row.value))
    older = tuple((place.replace(".runtime.", ".sdWebuiInferenceApi.", 1), value) for place, value in settings)
    assert values_of_config(older) == values_of_config(settings)


def places(section: Section, place: str) -> Iterator[str]:
    for value in generated.values_of(section):
        if isinstance(value.default, Section):
            yield from places(value.default, f"{place}.{value.key}")
        elif value.key not in type(section).POPULATED:
            yield f"{place}.{value.key}"


def test_no_parameter_is_without_a_row() -> None:
    everything = generated.ChartValues()
    known = {*places(everything.karpenter, "extraValues.karpenter"), *places(everything.runtime, "extraValues.runtime")}
    assert known == {row.place for row in ROWS if row.place in known} | WITHOUT_A_ROW
