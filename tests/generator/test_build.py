import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from generator import names
from generator.build import build
from generator.document import Document
from generator.load import load
from tests.generator.cases import CLUSTER, EXAMPLES, ROOT, VALID, Manifest, manifests, values

# What every runtime's nodes have of the cluster.
NODES = {
    "iamRole": "sdoneks-karpenter-node",
    "securityGroupSelector": {"karpenter.sh/discovery": "sdoneks"},
    "subnetSelector": {"karpenter.sh/discovery": "sdoneks"},
}

ONE = "modelsRuntime: [{name: sdruntime, modelFilename: a.safetensors}]\n" + CLUSTER


def text_of(name: str) -> str:
    return next(file for file in VALID if file.stem == name).read_text()


def spec_schema(api: str) -> Manifest:
    """Return the schema of an XRD's `spec`, made to refuse unknown keys, which the API server would drop silently."""
    definition = yaml.safe_load((ROOT / "apps" / "crossplane" / "apis" / api / "definition.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    def strict(value: Any) -> Any:
        if isinstance(value, dict):
            closed = {"additionalProperties": False} if "properties" in value else {}
            return {key: strict(item) for key, item in value.items()} | closed
        return value

    strict_schema: Manifest = strict(schema)
    return strict_schema


@pytest.mark.parametrize("file", [*VALID, *EXAMPLES], ids=lambda file: file.stem)
def test_claims_are_what_the_cluster_will_accept(file: Path) -> None:
    schemas = {"InferenceAPI": spec_schema("inferenceapi"), "InferenceRuntime": spec_schema("inferenceruntime")}
    claims = [manifest for manifest in manifests(file.read_text()).values() if manifest.get("kind") in schemas]
    assert claims
    for claim in claims:
        jsonschema.validate(claim["spec"], schemas[claim["kind"]])


def test_the_api_routes_static_dynamic_and_workflow_runtimes_in_the_order_of_the_file() -> None:
    claim = manifests(text_of("head-file-with-every-value"))["claims/inference-api.yaml"]
    assert claim["metadata"]["name"] == "sdoneks"
    assert claim["metadata"]["namespace"] == "darkroom"
    assert claim["spec"]["runtimes"] == [
        {"name": "sdruntime", "namespace": "pictures", "type": "sdwebui", "model": "123456.safetensors"},
        {"name": "comfy", "namespace": "default", "type": "comfyui"},
        {"name": "any", "namespace": "default", "type": "sdwebui", "dynamic": True},
    ]


def test_the_guidances_catch_all_runtime_becomes_a_dynamic_one() -> None:
    text = text_of("seed-static-runtime-and-catch-all")
    assert manifests(text)["claims/inference-api.yaml"]["spec"]["runtimes"][1:] == [
        {"name": "dynamicsdruntime", "namespace": "default", "type": "sdwebui", "dynamic": True}
    ]
    runtime = values(text, "dynamicsdruntime")["runtime"]
    assert runtime["queueAgent"] == {"dynamicModel": True}
    assert runtime["inferenceApi"] == {"resources": {"requests": {"cpu": "3", "memory": "8Gi"}}}


def test_a_model_that_nobody_named_is_neither_routed_by_nor_told_to_the_chart() -> None:
    text = text_of("runtimes-that-name-no-model")
    routes = manifests(text)["claims/inference-api.yaml"]["spec"]["runtimes"]
    assert [route.get("model") for route in routes] == [None, None, "v1-5-pruned-emaonly.safetensors"]
    assert "inferenceApi" not in values(text, "one")["runtime"]
    installed = text_of("successor-file-of-its-installer")
    assert manifests(installed)["claims/inference-api.yaml"]["spec"]["runtimes"] == [
        {"name": "workflows", "namespace": "default", "type": "comfyui"}
    ]
    assert "inferenceApi" not in values(installed, "workflows")["runtime"]


def test_pictures_are_kept_for_ever_where_nobody_says_how_long() -> None:
    assert "retentionDays" not in manifests(ONE)["claims/inference-api.yaml"]["spec"]["outputs"]


def test_a_runtime_claims_its_queue_in_its_own_namespace() -> None:
    claim = manifests(text_of("head-file-with-every-value"))["claims/runtimes/sdruntime.yaml"]
    assert (claim["metadata"]["name"], claim["metadata"]["namespace"]) == ("sdruntime", "pictures")
    assert claim["spec"]["apiRef"] == {"name": "sdoneks", "namespace": "darkroom"}
    # By which the API finds it.
    assert claim["metadata"]["labels"] == {"darkroom.dev/api": "sdoneks"}


def test_namespaces_come_before_claims_and_neither_goes_without_consent() -> None:
    rendered = manifests(text_of("head-file-with-every-value"))
    folder = "claims/namespaces/"
    assert [path for path in sorted(rendered) if path.startswith(folder)] == [
        f"{folder}darkroom.yaml",
        f"{folder}pictures.yaml",
    ]

    def annotation(path: str, name: str) -> str | None:
        value: str | None = rendered[path]["metadata"]["annotations"].get(f"argocd.argoproj.io/{name}")
        return value

    waves = [
        annotation(path, "sync-wave")
        for path in (f"{folder}pictures.yaml", "claims/inference-api.yaml", "claims/runtimes/comfy.yaml")
    ]
    assert waves == ["0", "1", "2"]
    # A namespace whose last runtime is gone must not hold up the claims of all others.
    assert annotation(f"{folder}pictures.yaml", "sync-options") == "Prune=false,Delete=confirm"
    assert annotation("claims/inference-api.yaml", "sync-options") == "Prune=confirm,Delete=confirm"


def test_values_travel_in_the_charts_spelling_and_nothing_that_was_not_set_does() -> None:
    given = values(text_of("head-file-with-every-value"), "sdruntime")
    runtime, provisioner = given["runtime"], given["karpenter"]["provisioner"]
    assert given["global"] == {
        "awsRegion": "us-west-2",
        "stackName": "sdoneks",
        "runtime": "sdruntime",
        "imageRegistry": "123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom",
    }
    assert provisioner["resourceLimits"] == {"nvidia.com/gpu": "100", "cpu": "400", "memory": "1600Gi"}
    assert runtime["queueAgent"]["xray"] == {"enabled": False}
    assert "XRay" not in runtime["queueAgent"]
    assert runtime["queueAgent"]["extraEnv"] == [
        {"name": "LOGLEVEL", "value": "DEBUG"},
        {"name": "RATE", "value": "1e3"},
    ]
    assert runtime["inferenceApi"]["extraEnv"][0] == {"name": "TZ", "value": "UTC"}
    assert runtime["inferenceApi"]["modelFilename"] == "123456.safetensors"
    assert runtime["persistence"]["s3"] == {"modelBucket": "models"}
    assert given["karpenter"]["nodeTemplate"]["userData"] == '[settings.kernel]\nlockdown = "integrity"\n'
    # Every key that was set is there, and no other.
    written = yaml.safe_load(text_of("head-file-with-every-value"))["modelsRuntime"][0]["extraValues"]
    assert set(provisioner) == set(written["karpenter"]["provisioner"])
    assert set(runtime["scaling"]) == set(written["runtime"]["scaling"])
    assert values(text_of("head-file-with-every-value"), "comfy")["runtime"] == {
        "type": "comfyui",
        "persistence": {"s3": {"modelBucket": "models"}},
    }


def test_the_older_spelling_of_runtime_travels_as_runtime() -> None:
    given = values(EXAMPLES[0].read_text(), "sdruntime")
    assert EXAMPLES[0].stem == "custom-image"
    assert set(given) == {"global", "karpenter", "runtime"}
    assert given["runtime"]["queueAgent"]["image"]["repository"].endswith("/agent")


def test_cluster_tags_are_on_every_runtimes_nodes_and_give_way_to_its_own() -> None:
    text = text_of("head-file-with-every-value").replace("tags: {cost-centre:", "tags: {team: all, cost-centre:")
    assert values(text, "sdruntime")["karpenter"]["nodeTemplate"]["tags"] == {"team": "pictures", "cost-centre": "0123"}
    assert values(text, "any")["karpenter"]["nodeTemplate"]["tags"] == {"team": "all", "cost-centre": "0123"}


@pytest.mark.parametrize(
    ("given", "rendered"),
    [
        ({}, {"enabled": False}),
        ({"existingClaim": "", "storageClass": ""}, {"existingClaim": "", "storageClass": "", "enabled": False}),
        ({"enabled": True}, {"enabled": True}),
        ({"existingClaim": "mine"}, {"existingClaim": "mine"}),
        ({"existingVolume": "mine"}, {"existingVolume": "mine"}),
        ({"storageClass": "efs"}, {"storageClass": "efs"}),
        ({"efs": {"fileSystemId": "fs-0"}}, {"efs": {"fileSystemId": "fs-0"}}),
        ({"efs": {"accessPointId": ""}}, {"efs": {"accessPointId": ""}, "enabled": False}),
    ],
)
def test_without_a_model_bucket_nothing_is_mounted_unless_people_say_what(given: Manifest, rendered: Manifest) -> None:
    text = ONE.replace("a.safetensors", f"a, extraValues: {json.dumps({'runtime': {'persistence': given}})}")
    assert values(text, "sdruntime")["runtime"]["persistence"] == rendered


def test_settings_in_their_older_places_travel_to_where_the_chart_reads_them() -> None:
    text = text_of("settings-in-their-older-places")
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 300}}
    given = values(text, "comfy")["runtime"]
    assert given["scaling"] == {"queueLength": 2, "extraHPAConfig": behavior}
    assert given["inferenceApi"] == {"commandArguments": "--lowvram"}
    assert given["queueAgent"] == {}
    assert "extraHPAConfig" not in given
    assert values(text, "other")["runtime"]["inferenceApi"] == {"commandArguments": "--highvram"}


def test_what_the_guidance_leaves_empty_does_not_reach_the_chart_as_a_setting() -> None:
    given = values(text_of("empty-defaults-of-the-guidance"), "sdruntime")
    assert given["karpenter"]["nodeTemplate"] == {
        "tags": {},
        "dataVolume": {"snapshotID": ""},
        "userData": "",
        **NODES,
    }
    runtime = given["runtime"]
    assert (runtime["labels"], runtime["annotations"]) == ({}, {})
    assert runtime["queueAgent"] == {"extraEnv": []}
    assert runtime["inferenceApi"]["modelFilename"] == "a.safetensors"
    assert runtime["persistence"]["s3"] == {"modelBucket": "models"}


def test_a_runtime_that_shares_a_node_pool_is_told_nothing_of_nodes() -> None:
    text = ONE.replace("a.safetensors", "a, extraValues: {karpenter: {existingNodePool: other}}")
    assert values(f"{text}  tags: {{team: all}}\n", "sdruntime")["karpenter"] == {"existingNodePool": "other"}


def test_one_runtimes_values_never_leak_into_anothers() -> None:
    text = """
modelsRuntime:
- name: one
  modelFilename: one.safetensors
  extraValues: &values
    karpenter: {provisioner: {instanceType: [g5.xlarge, g6.xlarge]}, nodeTemplate: {tags: {a: b}}}
    runtime: {scaling: {queueLength: 1}, queueAgent: {extraEnv: {A: "1"}}}
- {name: two, modelFilename: two.safetensors}
- {name: three, dynamicModel: true, extraValues: {karpenter: {provisioner: {instanceType: [g4dn.xlarge]}}}}
- {name: four, modelFilename: four.safetensors, extraValues: *values}
"""
    text = f"{text}{CLUSTER}  tags: {{team: all}}\n"
    tags = {"nodeTemplate": {"tags": {"team": "all"}, **NODES}}
    assert values(text, "two")["karpenter"] == tags
    assert values(text, "two")["runtime"] == {
        "type": "sdwebui",
        "inferenceApi": {"modelFilename": "two.safetensors"},
        "persistence": {"enabled": False},
    }
    assert values(text, "three")["karpenter"] == {"provisioner": {"instanceType": ["g4dn.xlarge"]}, **tags}
    assert values(text, "four")["runtime"]["inferenceApi"] == {"modelFilename": "four.safetensors"}
    assert values(text, "one")["runtime"]["inferenceApi"] == {"modelFilename": "one.safetensors"}


def test_a_runtime_is_a_helm_release_that_leaves_replicas_to_keda() -> None:
    application = manifests(ONE)["applications/runtimes/sdruntime.yaml"]
    spec = application["spec"]
    assert application["metadata"]["name"] == "sdruntime"
    assert spec["project"] == "darkroom"
    assert spec["destination"] == {"server": "https://kubernetes.default.svc", "namespace": "default"}
    assert spec["source"]["helm"]["releaseName"] == "sdruntime"
    assert {key: spec["source"][key] for key in ("repoURL", "targetRevision", "path")} == {
        "repoURL": "https://git.example.com/darkroom.git",
        "targetRevision": "main",
        "path": "runtimes/chart",
    }
    assert spec["ignoreDifferences"] == [{"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}]
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"]
    assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}


def test_replicas_are_what_git_says_where_keda_does_not_decide() -> None:
    fixed = ONE.replace("a.safetensors}", "a.safetensors, extraValues: {runtime: {scaling: {enabled: false}}}}")
    spec = manifests(fixed)["applications/runtimes/sdruntime.yaml"]["spec"]
    assert "ignoreDifferences" not in spec
    assert "RespectIgnoreDifferences=true" not in spec["syncPolicy"]["syncOptions"]


def test_charts_of_your_own_are_asked_for_the_way_argo_cd_wants() -> None:
    rendered = manifests(text_of("charts-of-your-own"))

    def source(name: str) -> Manifest:
        found = rendered[f"applications/runtimes/{name}.yaml"]["spec"]["source"]
        return {key: value for key, value in found.items() if key != "helm"}

    assert source("one") == {
        "repoURL": "123456789012.dkr.ecr.us-west-2.amazonaws.com/charts",
        "chart": "runtime",
        "targetRevision": "1.10",
    }
    assert source("two") == {
        "repoURL": "https://charts.example.com/aws-samples.github.io/stable-diffusion-on-eks/",
        "chart": "sd-on-eks",
        "targetRevision": "1.1.0",
    }


def test_the_guidances_charts_are_ours_whatever_the_version() -> None:
    rendered = manifests(text_of("charts-of-the-guidance"))
    for name in ("one", "two", "three", "four"):
        source = rendered[f"applications/runtimes/{name}.yaml"]["spec"]["source"]
        assert (source["path"], source["targetRevision"]) == ("runtimes/chart", "main")
        assert "chart" not in source


def test_the_claims_application_reads_the_claims_of_its_own_cluster() -> None:
    rendered = manifests(ONE)
    claims, apis = rendered["applications/claims.yaml"], rendered["applications/crossplane-apis.yaml"]
    assert claims["spec"]["source"]["path"] == "clusters/test/rendered/claims"
    assert claims["spec"]["source"]["directory"] == {"recurse": True}
    assert apis["spec"]["source"]["path"] == "apps/crossplane/apis"
    waves = [int(app["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) for app in (apis, claims)]
    assert waves == sorted(set(waves))


label = st.from_regex(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,20}[a-zA-Z0-9])?", fullmatch=True)
# Text that YAML parsers, each by its own rules, may take for something else.
text = st.one_of(
    st.sampled_from(
        ["on", "y", "~", "null", "0123", "089", "1e3", "1_000", "0o17", "12:30", "2024-01-01", "a: b", "<<"]
    ),
    st.text(max_size=20),
)
text_map = st.dictionaries(text.filter(bool), text, max_size=3)
extra_values = st.fixed_dictionaries(
    {},
    optional={
        "karpenter": st.fixed_dictionaries({}, optional={"nodeTemplate": st.fixed_dictionaries({"userData": text})}),
        "runtime": st.fixed_dictionaries({"annotations": text_map}, optional={"queueAgent": st.just({"XRay": {}})}),
    },
)
runtimes = st.lists(
    st.tuples(
        label.filter(lambda name: name.lower() not in names.TAKEN),
        label.filter(lambda name: name.lower() not in names.PLATFORM_NAMESPACES),
        text.filter(bool),
        extra_values,
    ),
    max_size=5,
    unique_by=(lambda runtime: runtime[0].lower(), lambda runtime: runtime[2]),
)


@settings(deadline=None, max_examples=50)
@given(runtimes=runtimes, stack=label, tags=text_map)
def test_any_valid_config_renders_to_yaml_that_says_the_same_to_every_parser(
    runtimes: list[tuple[str, str, str, Manifest]], stack: str, tags: dict[str, str]
) -> None:
    config = {
        "stackName": stack,
        "modelsRuntime": [
            {"name": name, "namespace": namespace, "modelFilename": model, "extraValues": extra}
            for name, namespace, model, extra in runtimes
        ],
        "cluster": {**yaml.safe_load(CLUSTER)["cluster"], "tags": tags},
    }
    loaded = load(yaml.safe_dump(config, default_style='"'), "config.yaml").config
    files = build(loaded, "clusters/test", "clusters/test/config.yaml")
    # PyYAML goes by YAML 1.1 and Document by 1.2.
    parsed = {path: yaml.load(text, yaml.CSafeLoader) for path, text in files.items()}
    assert parsed == {path: Document(text).data for path, text in files.items()}
    # What bootstrap/eks reads is no manifest.
    cluster = [found for path, found in parsed.items() if "/rendered/bootstrap/" not in path]
    identities = {(found["kind"], found["metadata"]["name"]) for found in cluster}
    assert len(identities) == len(cluster)
    assert all(len(name) <= 63 for _, name in identities)
    for name, _, model, extra in runtimes:
        application = parsed[f"clusters/test/rendered/applications/runtimes/{name.lower()}.yaml"]
        found = application["spec"]["source"]["helm"]["valuesObject"]
        assert found["runtime"]["inferenceApi"]["modelFilename"] == model
        assert found["runtime"].get("annotations") == extra.get("runtime", {}).get("annotations")
        assert found.get("karpenter", {}).get("nodeTemplate", {}).get("tags", {}) == tags


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_bytes_are_the_same_every_time(file: Path) -> None:
    def render() -> list[tuple[str, str]]:
        return sorted(build(load(file.read_text(), "config.yaml").config, "clusters/test", "config.yaml").items())

    assert render() == render()
