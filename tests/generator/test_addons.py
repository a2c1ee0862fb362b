"""Which add-ons a cluster has, in which order they come, and what Argo CD lets whom make."""

import json
import re
from pathlib import Path

import pytest
import yaml

from generator import argocd
from generator.addons import ADD_ONS, values_file
from generator.build import build
from generator.load import load
from tests.generator.cases import CLUSTER, ROOT, VALID, Manifest, manifests

ONE = "modelsRuntime: [{name: sdruntime, namespace: pictures, modelFilename: a.safetensors}]\n" + CLUSTER
WITH_BUCKET = "modelBucketArn: arn:aws:s3:::models\n" + ONE
EFS = "{runtime: {persistence: {efs: {fileSystemId: fs-0123}}}}"


def add_ons(text: str) -> set[str]:
    start = "applications/add-ons/"
    return {Path(path).stem for path in manifests(text) if path.startswith(start)}


def test_a_cluster_has_every_add_on_that_something_needs() -> None:
    always = {"argocd", "crossplane", "crossplane-packages", "karpenter", "keda", "observability"}
    assert add_ons(ONE) == always
    assert add_ons(WITH_BUCKET) == always | {"storage-s3"}
    assert add_ons(ONE.replace("a.safetensors", f"a, extraValues: {EFS}")) == always | {"storage-efs"}


@pytest.mark.parametrize(
    ("key", "gone"),
    [
        ("argocd", {"argocd"}),
        ("crossplane", {"crossplane", "crossplane-packages"}),
        ("karpenter", {"karpenter"}),
        ("keda", {"keda"}),
        ("observability", {"observability"}),
        ("storageS3", {"storage-s3"}),
    ],
)
def test_an_add_on_is_switched_off_in_the_clusters_configuration(key: str, gone: set[str]) -> None:
    text = f"{WITH_BUCKET}  addOns: {{{key}: false}}\n"
    assert add_ons(text) == add_ons(WITH_BUCKET) - gone
    # Nothing that belongs to it is left.
    assert not [path for path in manifests(text) for name in gone if path.startswith(f"add-ons/{name}/")]


def test_add_ons_that_nothing_asks_for_are_there_when_somebody_does() -> None:
    asked = f"{ONE}  addOns: {{storageEfs: true, storageS3: true, prometheusRules: true}}\n"
    assert add_ons(asked) == add_ons(ONE) | {"prometheus-rules", "storage-efs", "storage-s3"}


def test_every_chart_is_exact_and_has_its_values_in_git() -> None:
    rendered = manifests(WITH_BUCKET)
    for add_on in ADD_ONS:
        if add_on.chart and f"applications/add-ons/{add_on.name}.yaml" in rendered:
            assert re.fullmatch(r"\d+\.\d+\.\d+", add_on.chart.version)
            assert (ROOT / values_file(add_on)).exists()
            chart, repository, *_ = rendered[f"applications/add-ons/{add_on.name}.yaml"]["spec"]["sources"]
            assert chart["targetRevision"] == add_on.chart.version
            assert chart["helm"]["valueFiles"] == [f"${repository['ref']}/{values_file(add_on)}"]


def test_manifests_in_subfolders_of_an_add_on_are_applied_too() -> None:
    spec = manifests(ONE)["applications/add-ons/crossplane-packages.yaml"]["spec"]
    (source,) = spec["sources"]
    assert list((ROOT / source["path"]).glob("*/*.yaml"))
    assert source["directory"] == {"recurse": True}


def wave(manifest: Manifest) -> int:
    return int(manifest["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def test_each_thing_comes_after_what_it_needs() -> None:
    rendered = manifests(WITH_BUCKET)
    order = [
        "projects/platform",
        "add-ons/argocd",
        "add-ons/crossplane",
        "add-ons/crossplane-packages",
        "add-ons/karpenter",
        "crossplane-apis",
        "claims",
        "runtimes/sdruntime",
    ]
    waves = [wave(rendered[f"applications/{name}.yaml"]) for name in order]
    assert waves == sorted(set(waves))
    queue = [wave(rendered[f"add-ons/karpenter/{name}.yaml"]) for name in ("queue", "queuepolicy")]
    assert queue == sorted(queue)
    assert max(queue) < 0, "before Karpenter itself, which has no wave"


def test_runtimes_do_not_wait_for_observability() -> None:
    ignored = argocd.IGNORE_HEALTH
    rendered = manifests(f"{ONE}  addOns: {{prometheusRules: true}}\n")
    found = {
        Path(path).stem
        for path, manifest in rendered.items()
        if manifest.get("kind") == "Application" and ignored in manifest["metadata"]["annotations"]
    }
    assert found == {"observability", "prometheus-rules", "root"}, "the root does not wait for itself either"


def test_taking_the_root_away_takes_nothing_else_away() -> None:
    root = manifests(ONE)["applications/root.yaml"]
    assert "finalizers" not in root["metadata"]
    assert root["spec"]["source"]["path"] == "clusters/test/rendered/applications"


def allowed(project: Manifest, application: Manifest) -> bool:
    """Return whether a project lets an Application be made from where it is, to where it goes."""
    spec = application["spec"]
    sources = spec.get("sources") or [spec["source"]]
    destinations = project["spec"]["destinations"]
    return (
        project["metadata"]["name"] == spec["project"]
        and {source["repoURL"] for source in sources} <= set(project["spec"]["sourceRepos"])
        and spec["destination"] in destinations
    )


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_projects_allow_every_application_and_name_no_wildcard_to_go_to(file: Path) -> None:
    rendered = manifests(file.read_text())
    projects = [manifest for manifest in rendered.values() if manifest.get("kind") == "AppProject"]
    assert len(projects) == len({"darkroom", "platform"})
    for manifest in rendered.values():
        if manifest.get("kind") == "Application":
            assert [allowed(project, manifest) for project in projects].count(True) == 1, manifest["metadata"]["name"]
    for project in projects:
        assert "*" not in json.dumps([project["spec"]["sourceRepos"], project["spec"]["destinations"]])


def kinds(project: Manifest, key: str) -> set[tuple[str, str]]:
    return {(entry["group"], entry["kind"]) for entry in project["spec"][key]}


def test_a_runtime_may_make_nodes_and_volumes_and_nothing_else_outside_of_its_namespace() -> None:
    own = manifests(next(file for file in VALID if file.stem == "charts-of-your-own").read_text())
    for rendered in (manifests(ONE), own):
        project = rendered["applications/projects/darkroom.yaml"]
        assert kinds(project, "clusterResourceWhitelist") == {
            ("", "Namespace"),
            ("", "PersistentVolume"),
            ("karpenter.k8s.aws", "EC2NodeClass"),
            ("karpenter.sh", "NodePool"),
        }
    # What a chart of people's own has in its namespace is their business; ours is known.
    assert kinds(own["applications/projects/darkroom.yaml"], "namespaceResourceWhitelist") == {("*", "*")}
    ours = kinds(manifests(ONE)["applications/projects/darkroom.yaml"], "namespaceResourceWhitelist")
    assert not {kind for _, kind in ours} & {"*", "Secret", "Pod", "Job", "Service", "ClusterRole"}


def test_projects_name_every_kind_that_the_chart_and_claims_have_and_no_other() -> None:
    templates = (ROOT / "runtimes" / "chart" / "templates").glob("*.yaml")
    made = {kind for path in templates for kind in re.findall(r"^kind: (\w+)$", path.read_text(), re.MULTILINE)}
    claims = {"InferenceAPI", "InferenceRuntime", "Namespace"}
    listed = {
        kind for table in (argocd.CLUSTER_KINDS, argocd.NAMESPACED_KINDS) for names in table.values() for kind in names
    }
    assert listed == made | claims


def config_of(cluster: str) -> Manifest:
    found: Manifest = yaml.safe_load((ROOT / "clusters" / cluster / "config.yaml").read_text())
    return found


def rendered_of(cluster: str) -> dict[str, str]:
    """Return what is committed of a cluster, by path."""
    folder = ROOT / "clusters" / cluster / "rendered"
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(folder.rglob("*.yaml"))}


# What a cluster's runtimes are named in.
OF_RUNTIMES = re.compile(r"/runtimes/|/claims/(namespaces/|inference-api)|/projects/darkroom|/observability/dashboard")


def test_two_clusters_share_everything_but_their_facts() -> None:
    # Production, if it were where staging is, and as large.
    facts = {key: value for key, value in config_of("staging").items() if key != "modelsRuntime"}
    there = load(yaml.safe_dump(config_of("production") | facts), "config.yaml").config
    moved = build(there, "clusters/staging", "clusters/staging/config.yaml")
    staging = rendered_of("staging")
    shared = {path for path in staging if not OF_RUNTIMES.search(path)}
    assert shared == {path for path in moved if not OF_RUNTIMES.search(path)}
    assert len(shared) > len(ADD_ONS)
    for path in sorted(shared):
        assert moved[path] == staging[path], path


@pytest.mark.parametrize(("cluster", "other"), [("production", "staging"), ("staging", "production")])
def test_no_fact_of_one_cluster_is_in_another(cluster: str, other: str) -> None:
    theirs = config_of(other)
    facts = [theirs["cluster"]["region"], theirs["modelBucketArn"].rpartition(":")[2], f"clusters/{other}/"]
    for path, text in rendered_of(cluster).items():
        assert [fact for fact in facts if fact in text] == [], path
