import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from agent.metrics import Metrics
from agent.settings import Settings
from generator import names
from generator.build import build
from generator.load import load
from generator.model import VERSION
from tests.generator.cases import CLUSTERS, EXAMPLES, VALID
from tests.runtimes.chart import CASES, CHART, NAMESPACE, Chart, Manifest, RefusedError, by_kind, container, env

MINIMAL = yaml.safe_load((Path(__file__).parent / "cases" / "minimal.yaml").read_text())


def pod(found: dict[str, Manifest]) -> Manifest:
    spec: Manifest = found["Deployment"]["spec"]["template"]["spec"]
    return spec


def merged(values: Manifest, more: Manifest) -> Manifest:
    """Return values with some more, as Helm merges them."""
    both = {**values, **more}
    return both | {
        key: merged(values[key], more[key]) for key in more if isinstance(values.get(key), dict) and more[key]
    }


def runtimes_of(file: Path) -> dict[str, Manifest]:
    """Return the Helm values of every runtime that a config.yaml is rendered to, by name."""
    files = build(load(file.read_text(), "config.yaml").config, "clusters/test", "config.yaml")
    applications = [yaml.safe_load(text) for path, text in files.items() if "/applications/runtimes/" in path]
    sources = {found["metadata"]["name"]: found["spec"]["source"]["helm"] for found in applications}
    assert all(source["releaseName"] == name for name, source in sources.items())
    return {name: source["valuesObject"] for name, source in sources.items()}


@pytest.mark.parametrize("file", [*VALID, *EXAMPLES, *CLUSTERS], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_chart_takes_whatever_the_generator_renders(file: Path, chart: Chart) -> None:
    for name, values in runtimes_of(file).items():
        kinds = {manifest["kind"] for manifest in chart.render(values, name)}
        assert {"Deployment", "ServiceAccount", "ScaledObject"} <= kinds
        assert ({"NodePool", "EC2NodeClass"} <= kinds) is not bool(values["karpenter"].get("existingNodePool"))


@pytest.mark.parametrize("case", [file.stem for file in CASES])
def test_no_object_is_of_another_runtime(case: str, chart: Chart) -> None:
    [file] = [file for file in CASES if file.stem == case]
    for manifest in chart.render_case(case).values():
        runtime = yaml.safe_load(file.read_text())["global"]["runtime"]
        assert manifest["metadata"]["name"].startswith(runtime) or manifest["kind"] == "ServiceAccount"
        assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == runtime
        cluster_wide = {"NodePool", "EC2NodeClass", "PersistentVolume"}
        assert manifest["metadata"].get("namespace") == (None if manifest["kind"] in cluster_wide else NAMESPACE)


def test_names_are_those_that_the_generator_knows_the_lengths_of(chart: Chart) -> None:
    found = chart.render_case("static-model")
    made = {kind: manifest["metadata"]["name"] for kind, manifest in found.items()}
    forms = {
        "Deployment": names.DEPLOYMENT,
        "ScaledObject": names.SCALED_OBJECT,
        "NodePool": names.NODE_POOL,
        "EC2NodeClass": names.NODE_POOL,
        "ServiceAccount": names.SERVICE_ACCOUNT,
    }
    for kind in ("PersistentVolume", "PersistentVolumeClaim"):
        assert re.fullmatch(f"{names.MODELS.name('sdoneks', 'sdruntime')}-[0-9a-f]{{8}}", made[kind])
    assert {kind: made[kind] for kind in forms} == {k: form.name("sdoneks", "sdruntime") for k, form in forms.items()}
    [source] = container(found["Deployment"], "queue-agent")["envFrom"]
    assert source["configMapRef"]["name"] == names.CONFIG_MAP.name("sdoneks", "sdruntime")


def test_the_longest_name_of_a_runtime_is_a_name_everywhere(chart: Chart) -> None:
    longest = "r" * min(form.room("sdoneks") for form in names.OF_A_RUNTIME)
    manifests = chart.render(merged(MINIMAL, {"global": {"runtime": longest}}), longest)
    labels = [value for manifest in manifests for value in manifest["metadata"]["labels"].values()]
    assert max(len(text) for text in [*labels, *(manifest["metadata"]["name"] for manifest in manifests)]) <= 63


# Values


def test_the_schema_describes_every_key_and_takes_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    for section in [schema, *schema["$defs"].values()]:
        assert section["additionalProperties"] is False
        assert all(value.get("description") for value in section["properties"].values())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"runtimes": {}}, "runtimes"),
        ({"runtime": {"scaling": {"queueLenght": 1}}}, "queueLenght"),
        ({"runtime": {"scaling": {"queueLength": "many"}}}, "integer"),
        ({"runtime": {"type": "invokeai"}}, "must be one of 'sdwebui', 'comfyui'"),
        ({"karpenter": {"nodeTemplate": {"dataVolume": {"iops": 100}}}}, "iops': minimum"),
        ({"global": {"awsRegion": ""}}, "global.awsRegion is not set: name the AWS region"),
        ({"global": {"imageRegistry": ""}}, "global.imageRegistry is not set, where the image of sdwebui would be"),
        ({"karpenter": {"nodeTemplate": {"iamRole": ""}}}, "karpenter.nodeTemplate.iamRole is not set: name the"),
        ({"karpenter": {"nodeTemplate": {"subnetSelector": None}}}, "karpenter.nodeTemplate.subnetSelector is not set"),
        (
            {"runtime": {"queueAgent": {"extraEnv": [{"name": "DRAIN_SECONDS", "value": "5"}]}}},
            "set runtime.queueAgent.drainSeconds",
        ),
        ({"runtime": {"queueAgent": {"extraEnv": {"FINISH_SECONDS": "5"}}}}, "set runtime.queueAgent.finishSeconds"),
    ],
)
def test_values_that_make_no_sense_are_refused_with_the_reason(values: Manifest, said: str, chart: Chart) -> None:
    with pytest.raises(RefusedError, match=re.escape(said)):
        chart.render(merged(MINIMAL, values))


def test_variables_can_be_a_map_or_a_list_and_win_over_the_charts(chart: Chart) -> None:
    [as_map, as_list] = (
        {manifest["kind"]: manifest for manifest in chart.render(merged(MINIMAL, {"runtime": values}))}["Deployment"]
        for values in (
            {"inferenceApi": {"extraEnv": {"API_ONLY": "false", "A": "1"}}},
            {"inferenceApi": {"extraEnv": [{"name": "A", "value": "1"}, {"name": "API_ONLY", "value": "false"}]}},
        )
    )
    expected = {"A": "1", "API_ONLY": "false", "CONFIG_FILE": "/tmp/config.json"}
    assert env(container(as_map, "inference-api")) == env(container(as_list, "inference-api")) == expected


def test_a_packaged_chart_renders_the_same(chart: Chart, tmp_path: Path) -> None:
    subprocess.run([chart.helm, "package", CHART, "--destination", tmp_path], check=True, capture_output=True)
    [package] = tmp_path.iterdir()
    [file] = [file for file in CASES if file.stem == "everything"]
    values = yaml.safe_load(file.read_text())
    assert package.name == f"darkroom-runtime-{VERSION}.tgz"
    assert chart.render(values, folder=package) == chart.render(values)


# The pod


def test_the_server_is_there_before_the_agent_and_longer_than_it(chart: Chart) -> None:
    spec = pod(chart.render_case("static-model"))
    assert [found["name"] for found in spec["containers"]] == ["queue-agent"]
    # A native sidecar: it is started before and stopped after the containers.
    assert [(found["name"], found["restartPolicy"]) for found in spec["initContainers"]] == [
        ("xray-daemon", "Always"),
        ("inference-api", "Always"),
    ]


def test_a_pod_has_the_time_to_end_its_job_store_it_and_give_back_the_rest(chart: Chart) -> None:
    for case in ("minimal", "everything"):
        found = chart.render_case(case)
        told = env(container(found["Deployment"], "queue-agent"))
        drain, finish = int(told["DRAIN_SECONDS"]), int(told["FINISH_SECONDS"])
        assert pod(found)["terminationGracePeriodSeconds"] >= drain + finish + 30
        # Whatever takes a pod away, the longest job can end.
        assert drain >= int(told["JOB_TIMEOUT_SECONDS"])


def test_a_node_that_has_to_go_waits_longer_than_its_pods_take(chart: Chart) -> None:
    found = chart.render_case("minimal")
    period = found["NodePool"]["spec"]["template"]["spec"]["terminationGracePeriod"]
    assert int(period.removesuffix("s")) == pod(found)["terminationGracePeriodSeconds"] + 3600


@pytest.mark.parametrize(("case", "path"), [("static-model", "/sdapi/v1/memory"), ("comfyui", "/system_stats")])
def test_a_ten_minute_model_load_survives_the_probes(case: str, path: str, chart: Chart) -> None:
    server = container(chart.render_case(case)["Deployment"], "inference-api")
    for probe in (server["startupProbe"], server["livenessProbe"]):
        assert probe["httpGet"] == {"path": path, "port": "http"}
        assert probe["periodSeconds"] * probe["failureThreshold"] > 600
    assert server["ports"] == [{"name": "http", "containerPort": 8080}]


def test_the_agent_is_probed_where_it_answers(chart: Chart) -> None:
    agent = container(chart.render_case("minimal")["Deployment"], "queue-agent")
    [port] = agent["ports"]
    assert port["containerPort"] == Settings.model_fields["health_port"].default
    assert agent["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert agent["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}


@pytest.mark.parametrize("case", ["static-model", "dynamic-model", "comfyui", "everything"])
def test_the_agent_starts_with_what_its_pod_is_told(case: str, chart: Chart, monkeypatch: pytest.MonkeyPatch) -> None:
    told = env(container(chart.render_case(case)["Deployment"], "queue-agent"))
    # The runtime's ConfigMap, which the composition makes.
    config_map = {
        "AWS_DEFAULT_REGION": "us-west-2",
        "MAX_RECEIVE_COUNT": "5",
        "RUNTIME_NAME": "sdruntime",
        "S3_BUCKET": "outputs",
        "SNS_TOPIC_ARN": "arn:aws:sns:us-west-2:123456789012:outputs",
        "SQS_QUEUE_URL": "https://sqs.us-west-2.amazonaws.com/123456789012/sdoneks_sdruntime",
        "VISIBILITY_TIMEOUT_SECONDS": "120",
    }
    for name, value in {**config_map, **{k: v for k, v in told.items() if isinstance(v, str)}}.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.runtime_type == ("comfyui" if case == "comfyui" else "sdwebui")
    assert settings.dynamic_sd_model is (case == "dynamic-model")
    assert settings.sd_model_checkpoint == {
        "static-model": "sd_xl_turbo_1.0.safetensors",
        "everything": "123456.safetensors",
    }.get(case)
    assert settings.drain_seconds == float(told["DRAIN_SECONDS"])


def test_no_container_may_do_more_than_it_needs(chart: Chart) -> None:
    spec = pod(chart.render_case("static-model"))
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for found in [*spec["initContainers"], *spec["containers"]]:
        context = found["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert found["resources"]["requests"]
        assert found["resources"]["limits"]


def test_only_the_agent_can_speak_to_kubernetes_and_only_to_mark_pods(chart: Chart) -> None:
    found = chart.render_case("static-model")
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    spec = pod(found)
    with_token = [
        box["name"]
        for box in [*spec["initContainers"], *spec["containers"]]
        if token in {mount["mountPath"] for mount in box.get("volumeMounts", [])}
    ]
    assert with_token == ["queue-agent"]
    assert spec["automountServiceAccountToken"] is False
    assert found["ServiceAccount"]["automountServiceAccountToken"] is False
    assert found["Role"]["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    [subject] = found["RoleBinding"]["subjects"]
    assert subject["name"] == spec["serviceAccountName"]


def test_the_inference_server_has_no_role_in_aws(chart: Chart) -> None:
    annotations = chart.render_case("static-model")["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/skip-containers"] == "inference-api"


# Scaling


@pytest.mark.parametrize("case", [file.stem for file in CASES])
def test_replicas_have_one_owner(case: str, chart: Chart) -> None:
    found = chart.render_case(case)
    assert ("replicas" in found["Deployment"]["spec"]) is ("ScaledObject" not in found)


def test_keda_reads_the_queue_that_the_agent_serves_with_a_role_of_its_own(chart: Chart) -> None:
    found = chart.render_case("static-model")
    spec = found["ScaledObject"]["spec"]
    agent = container(found["Deployment"], spec["scaleTargetRef"]["envSourceContainerName"])
    assert spec["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    [trigger] = spec["triggers"]
    # KEDA resolves the variable through the container's envFrom, so no account and no queue is named twice.
    assert trigger["metadata"] == {
        "queueURLFromEnv": "SQS_QUEUE_URL",
        "awsRegion": "us-west-2",
        "queueLength": "10",
        "scaleOnInFlight": "false",
    }
    assert agent["envFrom"]
    assert trigger["authenticationRef"]["name"] == found["TriggerAuthentication"]["metadata"]["name"]
    assert found["TriggerAuthentication"]["spec"] == {"podIdentity": {"provider": "aws"}}


# Nodes


def test_pods_go_to_their_own_nodes_and_others_stay_away(chart: Chart) -> None:
    for case in ("static-model", "everything"):
        found = chart.render_case(case)
        spec, pool = pod(found), found["NodePool"]
        tolerated = {(item["key"], item.get("value", ""), item["effect"]) for item in spec["tolerations"]}
        taints = pool["spec"]["template"]["spec"]["taints"]
        assert {(taint["key"], taint.get("value", ""), taint["effect"]) for taint in taints} <= tolerated
        assert spec["nodeSelector"] == {"karpenter.sh/nodepool": pool["metadata"]["name"]}
        reference = pool["spec"]["template"]["spec"]["nodeClassRef"]
        assert reference["name"] == found["EC2NodeClass"]["metadata"]["name"]


def test_a_runtime_on_the_nodes_of_another_tolerates_that_ones_taints(chart: Chart) -> None:
    [owner] = [manifest for manifest in chart.render(MINIMAL) if manifest["kind"] == "NodePool"]
    spec = pod(chart.render_case("shared-node-pool"))
    tolerated = {(item["key"], item.get("value", "")) for item in spec["tolerations"]}
    assert {(item["key"], item.get("value", "")) for item in owner["spec"]["template"]["spec"]["taints"]} == tolerated
    assert spec["nodeSelector"] == {"karpenter.sh/nodepool": owner["metadata"]["name"]}


@pytest.mark.parametrize("case", ["minimal", "everything", "al2023", "image-snapshot"])
def test_nodes_give_their_credentials_to_no_pod_and_encrypt_their_disks(case: str, chart: Chart) -> None:
    spec = chart.render_case(case)["EC2NodeClass"]["spec"]
    assert spec["metadataOptions"]["httpTokens"] == "required"
    assert spec["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert all(mapping["ebs"]["encrypted"] for mapping in spec["blockDeviceMappings"])


def test_images_come_from_a_snapshot_or_else_in_parallel(chart: Chart) -> None:
    fast = chart.render_case("minimal")["EC2NodeClass"]["spec"]
    assert fast["instanceStorePolicy"] == "RAID0"
    assert 'snapshotter = "soci"' in fast["userData"]
    snapshot = chart.render_case("image-snapshot")["EC2NodeClass"]["spec"]
    assert "instanceStorePolicy" not in snapshot
    assert "userData" not in snapshot


def test_a_node_with_a_job_is_consolidated_by_nobody(chart: Chart) -> None:
    disruption = chart.render_case("minimal")["NodePool"]["spec"]["disruption"]
    # Idle pods may be moved; the agent marks a busy one do-not-disrupt.
    assert disruption["consolidationPolicy"] == "WhenEmptyOrUnderutilized"
    assert disruption["budgets"] == [
        {"nodes": "100%", "reasons": ["Empty"]},
        {"nodes": "10%", "reasons": ["Drifted", "Underutilized"]},
    ]


# Models


def test_models_are_the_bucket_read_only_and_no_two_runtimes_share_a_volume(chart: Chart) -> None:
    handles = set()
    for case in ("static-model", "dynamic-model", "comfyui"):
        found = chart.render_case(case)
        volume, claim = found["PersistentVolume"], found["PersistentVolumeClaim"]
        handles.add(volume["spec"]["csi"]["volumeHandle"])
        assert volume["spec"]["csi"]["driver"] == "s3.csi.aws.com"
        assert "read-only" in volume["spec"]["mountOptions"]
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        # They find each other and nobody else.
        assert volume["spec"]["claimRef"]["name"] == claim["metadata"]["name"]
        assert volume["spec"]["claimRef"]["namespace"] == claim["metadata"]["namespace"]
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        assert volume["spec"]["storageClassName"] == claim["spec"]["storageClassName"] == ""
        mounts = container(found["Deployment"], "inference-api")["volumeMounts"]
        assert [mount["readOnly"] for mount in mounts if mount["name"] == "models"] == [True]
    assert len(handles) == 3


def test_without_a_model_bucket_the_image_keeps_the_models_that_it_has(chart: Chart) -> None:
    found = chart.render_case("minimal")
    assert not {"PersistentVolume", "PersistentVolumeClaim"} & found.keys()
    assert "models" not in {volume["name"] for volume in pod(found)["volumes"]}


def test_another_bucket_is_another_volume_since_none_can_be_changed(chart: Chart) -> None:
    [one, two, resized] = (
        by_kind(chart.render(merged(MINIMAL, {"runtime": {"persistence": values}})))
        for values in (
            {"s3": {"modelBucket": "one"}},
            {"s3": {"modelBucket": "two"}},
            {"s3": {"modelBucket": "one"}, "size": "3Ti"},
        )
    )
    for kind in ("PersistentVolume", "PersistentVolumeClaim"):
        assert len({found[kind]["metadata"]["name"] for found in (one, two, resized)}) == 3
    for found in (one, two, resized):
        [volume] = [volume for volume in pod(found)["volumes"] if volume["name"] == "models"]
        assert volume["persistentVolumeClaim"]["claimName"] == found["PersistentVolumeClaim"]["metadata"]["name"]


def test_data_of_a_storage_class_stays_where_it_is(chart: Chart) -> None:
    names_of_claims = {
        by_kind(chart.render(merged(MINIMAL, {"runtime": {"persistence": {"storageClass": "efs-sc", **more}}})))[
            "PersistentVolumeClaim"
        ]["metadata"]["name"]
        for more in ({}, {"size": "3Ti"}, {"s3": {"modelBucket": "one"}})
    }
    assert names_of_claims == {"sdruntime-models"}


@pytest.mark.parametrize("case", ["static-model", "comfyui", "everything"])
def test_the_projects_images_are_told_where_models_are(case: str, chart: Chart) -> None:
    server = container(chart.render_case(case)["Deployment"], "inference-api")
    [mount] = [mount for mount in server["volumeMounts"] if mount["name"] == "models"]
    assert env(server)["MODELS_DIR"] == mount["mountPath"]
    # They write below the first of these, as their user's home is.
    assert "/tmp" in {mount["mountPath"] for mount in server["volumeMounts"]}


def test_only_a_claim_whose_data_goes_with_it_is_asked_about(chart: Chart) -> None:
    def asks(case: str) -> bool:
        metadata = chart.render_case(case)["PersistentVolumeClaim"]["metadata"]
        return "argocd.argoproj.io/sync-options" in metadata.get("annotations", {})

    cases = ("storage-class", "static-model", "efs", "volume-of-your-own")
    assert {case: asks(case) for case in cases} == {case: case == "storage-class" for case in cases}


# Whom pods talk to, and who watches them


def test_only_metrics_come_in_and_only_what_a_job_needs_goes_out(chart: Chart) -> None:
    found = chart.render_case("minimal")
    spec = found["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["podSelector"] == found["Deployment"]["spec"]["selector"]
    assert [rule["ports"] for rule in spec["ingress"]] == [[{"protocol": "TCP", "port": "metrics"}]]
    blocks = [peer["ipBlock"] for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer]
    # Nothing leads to the instance's metadata.
    assert all(block["cidr"] == "169.254.170.23/32" or "169.254.0.0/16" in block["except"] for block in blocks)
    assert all(rule["ports"] for rule in spec["egress"])


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("http://collector:4318", 4318), ("https://otlp.example.com", 443), ("http://10.0.0.1/v1", 80)],
)
def test_traces_reach_the_collector(endpoint: str, port: int, chart: Chart) -> None:
    values = merged(MINIMAL, {"runtime": {"queueAgent": {"otlpEndpoint": endpoint}}})
    [policy] = [manifest for manifest in chart.render(values) if manifest["kind"] == "NetworkPolicy"]
    assert policy["spec"]["egress"][-1]["ports"] == [{"protocol": "TCP", "port": port}]


def test_guards_select_the_pods_of_the_deployment(chart: Chart) -> None:
    found = chart.render_case("everything")
    selector = found["Deployment"]["spec"]["selector"]
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        assert found[kind]["spec"]["selector"] == selector
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert selector["matchLabels"].items() <= labels.items()


def test_every_series_of_the_dashboard_is_one_that_the_agent_has(chart: Chart) -> None:
    [text] = chart.render_case("everything")["ConfigMap-dashboard"]["data"].values()
    dashboard: dict[str, Any] = json.loads(text)
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for query in queries for name in re.findall(r"darkroom_\w+", query)}
    exposed = generate_latest(Metrics().registry).decode()
    families = set(re.findall(r"^# TYPE (\w+) ", exposed, re.MULTILINE))
    assert used
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in used} <= families
    assert all('runtime="sdruntime"' in query for query in queries)
