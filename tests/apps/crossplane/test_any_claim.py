"""Whatever a valid claim says: its resources fit their definitions and each other, and none goes without a reason."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.crossplane.aws.owner import TAGGED
from bootstrap.local.compositions import CompositionError
from tests.apps.crossplane import claims
from tests.apps.crossplane.claims import ADMISSION, Manifest, Observed, compose, made, settled
from tools import schema

# The longest name that AWS takes, where a kind's name is the annotation.
LONGEST = {"Bucket": 63, "Function": 64, "Group": 512, "MetricAlarm": 255, "Role": 64, "Rule": 64, "Topic": 256}
LONGEST_QUEUE = 80

# Each example composes a whole cluster several times.
ANY = settings(max_examples=10, deadline=None)

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?", fullmatch=True)
RUNTIMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,39}[a-z0-9])?", fullmatch=True)
DAYS = st.none() | st.integers(1, 1000)
REGIONS = st.sampled_from(["us-west-2", "ap-southeast-1", "cn-northwest-1", "us-gov-west-1", "eusc-de-east-1"])


def without_nothing(**values: Any) -> Manifest:
    return {key: value for key, value in values.items() if value is not None}


@st.composite
def apis(draw: st.DrawFn) -> Manifest:
    """Any InferenceAPI, as the API server would store it."""
    region, account = draw(REGIONS), draw(st.from_regex(r"[0-9]{12}", fullmatch=True))
    pictures, records = draw(DAYS), draw(DAYS)
    if pictures and records:
        records = min(pictures, records)
    runtimes = draw(st.lists(RUNTIMES, max_size=3, unique=True))
    spec = {
        "region": region,
        "accountId": account,
        "clusterName": draw(st.from_regex(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}", fullmatch=True)),
        "tags": draw(st.dictionaries(st.text("abc:/ ", min_size=1), st.text("xyz "), max_size=3)),
        "tracing": draw(st.booleans()),
        "function": {
            "image": f"{account}.dkr.ecr.{region}.amazonaws.com/darkroom/api:{draw(st.sampled_from(['1', '0.1.0']))}",
            "architecture": draw(st.sampled_from(["x86_64", "arm64"])),
        },
        "apiKey": {"required": draw(st.booleans())},
        "logs": {
            "access": draw(st.booleans()),
            "accountRole": draw(st.sampled_from(["Managed", "Existing"])),
            "retentionDays": draw(st.sampled_from([1, 30, 3653])),
        },
        "alarms": draw(st.sampled_from([{}, {"topicArn": f"arn:aws:sns:{region}:{account}:on-call"}])),
        "outputs": without_nothing(
            retentionDays=pictures,
            recordRetentionDays=records,
            deletionPolicy=draw(st.sampled_from(["Retain", "Delete"])),
            corsAllowedOrigins=draw(st.sampled_from([[], ["*"], ["https://a.example.com", "https://b.example.com"]])),
        ),
        "runtimes": [
            {"name": name, "namespace": draw(RUNTIMES), "type": draw(st.sampled_from(["sdwebui", "comfyui"]))}
            for name in runtimes
        ],
    }
    return ADMISSION.admit(
        {
            "apiVersion": "darkroom.dev/v1alpha1",
            "kind": "InferenceAPI",
            "metadata": {"name": draw(NAMES), "namespace": "darkroom"},
            "spec": spec,
        }
    )


@st.composite
def runtimes_of(draw: st.DrawFn, api: Manifest) -> list[Manifest]:
    """The InferenceRuntimes that an InferenceAPI lists."""
    metadata = api["metadata"]
    return [
        ADMISSION.admit(
            {
                "apiVersion": "darkroom.dev/v1alpha1",
                "kind": "InferenceRuntime",
                "metadata": {
                    "name": listed["name"],
                    "namespace": listed["namespace"],
                    "labels": {"darkroom.dev/api": metadata["name"]},
                },
                "spec": {
                    "apiRef": {"name": metadata["name"], "namespace": metadata["namespace"]},
                    "inputBuckets": draw(st.sampled_from([[], ["photographs"]])),
                    "queue": {"maxReceiveCount": draw(st.integers(1, 999))},
                },
            }
        )
        for listed in api["spec"]["runtimes"]
    ]


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Manifest, list[Manifest]]:
    """An InferenceAPI, with the status that it has at first, and its InferenceRuntimes."""
    api = draw(apis())
    return api | {"status": claims.status(api)}, draw(runtimes_of(api))


@cache
def validator(api_version: str, kind: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(schema.schema(api_version, kind))


@cache
def required(api_version: str, kind: str) -> frozenset[str]:
    """What a managed resource of a kind must say, though its schema does not: the definition has rules for that."""
    definition = yaml.load(schema.definition_file(api_version.partition("/")[0], kind).read_bytes(), yaml.CSafeLoader)
    (version,) = [found for found in definition["spec"]["versions"] if f"/{found['name']}" in api_version]
    rules = version["schema"]["openAPIV3Schema"]["properties"]["spec"].get("x-kubernetes-validations", [])
    found = (re.fullmatch(r"spec\.forProvider\.(\w+) is a required parameter", rule["message"]) for rule in rules)
    return frozenset(match[1] for match in found if match)


@cache
def can_be_tagged(api_version: str, kind: str) -> bool:
    spec = schema.schema(api_version, kind)["properties"]["spec"]
    return "tags" in spec["properties"]["forProvider"]["properties"]


def is_managed(manifest: Manifest) -> bool:
    return "upbound.io" in manifest["apiVersion"]


def problems(manifest: Manifest) -> Iterator[str]:
    """Yield what the API server and the provider would refuse."""
    who = manifest["kind"]
    kind = manifest["apiVersion"], manifest["kind"]
    yield from (f"{who}: {error.json_path}: {error.message}" for error in validator(*kind).iter_errors(manifest))
    if is_managed(manifest):
        missing = required(*kind) - set(claims.settings(manifest))
        yield from (f"{who}: {name} is missing" for name in missing)


def names_in_aws(manifests: list[Manifest]) -> list[tuple[str, str]]:
    """Return the kind and name of everything that is called something in AWS, but policies, which are their roles'."""
    found = []
    for manifest in manifests:
        annotations = manifest["metadata"].get("annotations", {})
        name = annotations.get("crossplane.io/external-name")
        if name and manifest["kind"] != "RolePolicy":
            found.append((manifest["kind"], name))
        if manifest["kind"] == "Queue":
            found.append(("Queue", claims.settings(manifest)["name"]))
    return found


def everything(cluster: tuple[Manifest, list[Manifest]]) -> list[Manifest]:
    """Return all that is composed for a cluster, when it has settled, without what AWS said."""
    api, runtimes = cluster
    composed = [compose(api, settled(api, *runtimes), *runtimes)]
    composed += [compose(runtime, settled(runtime, api), api) for runtime in runtimes]
    return [manifest for resources in composed for manifest in resources.values()]


@pytest.fixture(scope="module", autouse=True)
def _definitions(go_module: Any) -> None:
    """Have the definitions of the provider and of Kubernetes, or say that this was not run."""
    go_module("github.com/upbound/provider-aws/v2")
    go_module("k8s.io/kubernetes")


@ANY
@given(clusters())
def test_every_resource_fits_its_definition(cluster: tuple[Manifest, list[Manifest]]) -> None:
    assert [problem for manifest in everything(cluster) for problem in problems(manifest)] == []


@ANY
@given(clusters())
def test_no_two_resources_have_one_name_and_every_name_is_short_enough(
    cluster: tuple[Manifest, list[Manifest]],
) -> None:
    manifests = everything(cluster)
    identities = [
        (manifest["apiVersion"], manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        for manifest in manifests
    ]
    assert len(set(identities)) == len(identities)
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name) for *_, name in identities)
    named = names_in_aws(manifests)
    assert len(set(named)) == len(named)
    limits = LONGEST | {"Queue": LONGEST_QUEUE}
    assert [(kind, name) for kind, name in named if len(name) > limits[kind]] == []


@ANY
@given(clusters())
def test_everything_that_can_be_tagged_has_the_tags_of_the_cluster(cluster: tuple[Manifest, list[Manifest]]) -> None:
    tags = cluster[0]["spec"]["tags"]
    for manifest in filter(is_managed, everything(cluster)):
        kind = manifest["kind"]
        assert (kind in TAGGED) == (can_be_tagged(manifest["apiVersion"], kind) and kind != "BucketObject"), kind
        if kind in TAGGED:
            assert claims.settings(manifest).get("tags", {}) == tags


@ANY
@given(clusters())
def test_what_has_settled_stays_as_it_is(cluster: tuple[Manifest, list[Manifest]]) -> None:
    api, runtimes = cluster
    for claim, others in [(api, runtimes), *((runtime, [api]) for runtime in runtimes)]:
        observed = settled(claim, *others)
        assert made(compose(claim, observed, *others)) == observed


@st.composite
def torn(draw: st.DrawFn, observed: Observed) -> Observed:
    """What there is, with the status of some of it away, as after a provider's restart, or all that AWS said."""
    left = copy.deepcopy(observed)
    for manifest in left.values():
        match draw(st.sampled_from(["whole", "whole", "no status", "no conditions"])):
            case "no status":
                manifest.pop("status", None)
            case "no conditions":
                manifest.get("status", {}).pop("conditions", None)
    return left


@ANY
@given(st.data())
def test_no_resource_goes_while_its_claim_stays_as_it_is(data: st.DataObject) -> None:
    api, runtimes = data.draw(clusters())
    for claim, others in [(api, runtimes), *((runtime, [api]) for runtime in runtimes)]:
        observed: Observed = {}
        # Wherever things stand, and whatever of them cannot be seen.
        for _ in range(4):
            desired = compose(claim, data.draw(torn(observed)), *others)
            assert set(observed) <= set(desired)
            observed = made(desired)


@ANY
@given(clusters())
def test_nothing_goes_while_runtimes_or_the_api_are_not_seen(cluster: tuple[Manifest, list[Manifest]]) -> None:
    api, runtimes = cluster
    receiving = [runtime | {"status": {"receiving": True}} for runtime in runtimes]
    observed = settled(api, *receiving)
    first = claims.first_call(api, observed)
    assert set(first) == set(observed)
    assert first["runtimes"] == compose(api, observed, *receiving)["runtimes"]
    for runtime in runtimes:
        with pytest.raises(CompositionError):
            compose(runtime, settled(runtime, api))
