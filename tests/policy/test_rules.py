"""Rules over everything that this repository renders, and proof that each of them finds what it is for."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generator.load import load
from tests.policy import iam, rules
from tests.policy.findings import Exemption, Finding, exemptions, judge
from tests.policy.rendered import ROOT, Manifest, Rendered, committed, merged


def test_everything_rendered_keeps_the_rules(everything: list[Rendered]) -> None:
    assert judge(rules.find(everything), exemptions("rules")) == ""


def test_nothing_in_aws_is_allowed_more_than_it_needs(everything: list[Rendered]) -> None:
    assert judge(iam.find(everything), exemptions("iam")) == ""


def of_container(**change: Any) -> Callable[[Manifest], None]:
    def apply(manifest: Manifest) -> None:
        container = manifest["spec"]["template"]["spec"]["containers"][0]
        container.update(change)

    return apply


def but_for(**change: Any) -> Callable[[Manifest], None]:
    def apply(manifest: Manifest) -> None:
        container = manifest["spec"]["template"]["spec"]["containers"][0]
        container["securityContext"] = merged(container["securityContext"], change)

    return apply


def of_pod(**change: Any) -> Callable[[Manifest], None]:
    return lambda manifest: manifest["spec"]["template"]["spec"].update(change)


@pytest.mark.parametrize(
    ("check", "kind", "mistake"),
    [
        ("pinned-image", "Deployment", of_container(image="darkroom/agent")),
        ("pinned-image", "Deployment", of_container(image="darkroom/agent:latest")),
        ("pinned-image", "Deployment", of_container(image="registry.example.com:5000/agent")),
        (
            "pinned-image",
            "v1beta1/Function",
            lambda made: made["spec"]["forProvider"].update(imageUri="darkroom/api:latest"),
        ),
        ("pinned-image", "v1/Provider", lambda made: made["spec"].update(package="xpkg.crossplane.io/x/provider")),
        ("resources", "Deployment", of_container(resources={"requests": {"cpu": "1", "memory": "1Gi"}})),
        ("confined", "Deployment", but_for(readOnlyRootFilesystem=False)),
        ("confined", "Deployment", but_for(runAsNonRoot=False)),
        ("confined", "Deployment", but_for(capabilities={"add": ["SYS_ADMIN"]})),
        ("own-node", "Deployment", of_pod(hostNetwork=True)),
        ("own-node", "Deployment", of_pod(volumes=[{"name": "root", "hostPath": {"path": "/"}}])),
        ("own-node", "Deployment", of_pod(serviceAccountName="default")),
        ("no-secret", "ConfigMap", lambda made: made.update(kind="Secret")),
        ("named-rights", "Role", lambda made: made["rules"][0].update(verbs=["*"])),
        ("closed-metadata", "EC2NodeClass", lambda made: made["spec"].pop("metadataOptions")),
        ("replicas", "Deployment", lambda made: made["spec"].update(replicas=1)),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_found(
    everything: list[Rendered], check: str, kind: str, mistake: Callable[[Manifest], None]
) -> None:
    right = next(item for item in everything if f"/{item.manifest['apiVersion']}/{item.kind}".endswith(f"/{kind}"))
    wrong = Rendered(right.origin, deepcopy(right.manifest))
    mistake(wrong.manifest)
    beside = [item for item in everything if item.origin == right.origin and item is not right]
    assert check in {finding.check for finding in rules.find([wrong, *beside])}


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("named-action", {"Action": "s3:*"}),
        ("named-action", {"Action": ["sqs:SendMessage", "sqs:Get*"]}),
        ("named-resource", {"Resource": "*"}),
        ("named-resource", {"Resource": ["arn:aws:sqs:us-west-2:123456789012:*"]}),
        ("named-principal", {"Principal": "*"}),
        ("named-principal", {"Principal": {"AWS": ["*"]}}),
        ("confused-deputy", {"Principal": {"Service": "sns.amazonaws.com"}}),
        ("inverted", {"NotAction": "s3:DeleteBucket"}),
    ],
)
def test_a_policy_that_allows_too_much_is_found(check: str, change: Manifest) -> None:
    right = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-west-2:123456789012:jobs"}
    names = {"metadata": {"name": "jobs"}, "kind": "QueuePolicy"}
    documents = [{"spec": {"policy": {"Statement": [right | extra]}}} | names for extra in ({}, change)]
    before, after = (list(iam.find([Rendered("a test", document)])) for document in documents)
    assert [finding.check for finding in before] == []
    assert {finding.check for finding in after} == {check}


def test_an_exception_that_nothing_is_found_for_must_go() -> None:
    finding = Finding("rules", "resources", "Deployment", "Deployment sd (a test)", "no limit")
    exemption = Exemption("rules", "resources", "Deployment", "it is small", where="a test", text="no limit")
    assert judge([finding], [exemption]) == ""
    assert judge([finding], []) == "resources: Deployment: Deployment sd (a test): no limit"
    assert "nothing is found any more for resources on Deployment a test" in judge([], [exemption])


@pytest.mark.parametrize("part", ["by", "check", "subject", "where", "text"])
def test_an_exception_is_for_what_it_names_and_nothing_else(part: str) -> None:
    finding = Finding("rules", "resources", "Deployment", "Deployment sd (a test)", "no limit")
    exemption = Exemption("rules", "resources", "Deployment", "it is small", where="a test", text="no limit")
    assert "no limit" in judge([finding], [replace(exemption, **{part: "other"})])


@pytest.fixture(params=sorted(path.parent for path in ROOT.glob("clusters/*/config.yaml")), ids=lambda path: path.name)
def cluster(request: pytest.FixtureRequest) -> Path:
    """The folder of a cluster."""
    folder: Path = request.param
    return folder


def of(cluster: Path, *kinds: str) -> list[Manifest]:
    below = f"{cluster.relative_to(ROOT)}/"
    return [item.manifest for item in committed() if item.origin.startswith(below) and item.kind in kinds]


def test_every_application_is_what_its_project_allows(cluster: Path, everything: list[Rendered]) -> None:
    projects = {project["metadata"]["name"]: project["spec"] for project in of(cluster, "AppProject")}
    for application in of(cluster, "Application"):
        spec, name = application["spec"], application["metadata"]["name"]
        project = projects[spec["project"]]
        sources = spec.get("sources", [spec.get("source")])
        assert {source["repoURL"] for source in sources} <= set(project["sourceRepos"]), name
        assert spec["destination"] in project["destinations"], name
        allowed = {
            (rule["group"], rule["kind"])
            for scope in ("clusterResourceWhitelist", "namespaceResourceWhitelist")
            for rule in project[scope]
        }
        source = f"{cluster.name}/rendered/applications/runtimes/{name}.yaml"
        made = [item for item in everything if item.origin == f"the chart with clusters/{source}"]
        kinds = {(item.manifest["apiVersion"].rpartition("/")[0], item.kind) for item in made}
        assert ("*", "*") in allowed or kinds <= allowed, name


def test_what_others_need_is_synced_before_them(cluster: Path) -> None:
    waves = {
        application["metadata"]["name"]: int(application["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for application in of(cluster, "Application")
    }
    runtimes = [claim["metadata"]["name"] for claim in of(cluster, "InferenceRuntime")]
    assert waves["crossplane-apis"] < waves["claims"]
    assert all(waves["claims"] < waves[runtime] for runtime in runtimes)


def test_the_cluster_called_production_is_one() -> None:
    # Or what the generator refuses in production, such as an image `latest`, would pass.
    assert load((ROOT / "clusters/production/config.yaml").read_text(), "config.yaml").config.cluster.production
