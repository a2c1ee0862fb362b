"""Claims become AWS resources: what the compositions ask for, seen through the function protocol."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.settings import Settings
from bootstrap.local.admission import Admission
from bootstrap.local.compositions import CompositionError, Compositions

APIS = Path(__file__).parents[3] / "apps" / "crossplane" / "apis"
Manifest = dict[str, Any]


def claim(kind: str, **spec: Any) -> Manifest:
    """Return the example claim of `kind`, changed, as the API server would store it."""
    example = yaml.safe_load((APIS / kind / "example.yaml").read_text())
    return Admission(APIS).admit(example | {"spec": example["spec"] | spec})


def compose(claim: Manifest, observed: dict[str, Manifest] | None = None, *others: Manifest) -> dict[str, Manifest]:
    desired, _ = Compositions(APIS).compose(claim, observed or {}, lambda _: others)
    return desired


@pytest.fixture
def api() -> Manifest:
    """An InferenceAPI with its status."""
    made = claim("inferenceapi")
    _, status = Compositions(APIS).compose(made, {}, lambda _: [])
    return made | {"status": status}


def settings(manifest: Manifest) -> Manifest:
    found: Manifest = manifest["spec"]["forProvider"]
    return found


def test_an_api_gets_topics_and_guarded_buckets_under_names_of_its_own(api: Manifest) -> None:
    made = compose(api)
    names = {
        made[key]["metadata"]["annotations"]["crossplane.io/external-name"] for key in ("input-topic", "output-topic")
    }
    assert names == {"sdoneks-input", "sdoneks-output"}
    for purpose in ("outputs", "config"):
        name = f"sdoneks-{purpose}-123456789012-us-west-2"
        guards = [
            item for item in made.values() if settings(item).get("bucket") == name and item["kind"] != "BucketObject"
        ]
        assert {guard["kind"] for guard in guards} >= {
            "BucketPublicAccessBlock",
            "BucketServerSideEncryptionConfiguration",
            "BucketPolicy",
        }
        policy = json.loads(settings(made[f"{purpose}-policy"])["policy"])
        assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_status_of_an_api_says_what_runtimes_need(api: Manifest) -> None:
    assert api["status"] == {
        "region": "us-west-2",
        "accountId": "123456789012",
        "inputTopicArn": "arn:aws:sns:us-west-2:123456789012:sdoneks-input",
        "outputTopicArn": "arn:aws:sns:us-west-2:123456789012:sdoneks-output",
        "bucket": "sdoneks-outputs-123456789012-us-west-2",
        "configBucket": "sdoneks-config-123456789012-us-west-2",
    }


def test_the_job_api_is_told_the_runtimes_that_receive_in_the_order_of_the_claim(api: Manifest) -> None:
    def runtime(name: str, namespace: str, **status: Any) -> Manifest:
        made = claim("inferenceruntime")
        return made | {"metadata": made["metadata"] | {"name": name, "namespace": namespace}, "status": status}

    runtimes = [
        runtime("comfy", "workflows", receiving=True),
        runtime("sdruntime", "default", receiving=True),
        runtime("dynamic", "default"),
        runtime("dynamic", "elsewhere", receiving=True),
    ]
    table = compose(api, {}, *runtimes)["runtimes"]
    assert settings(table)["key"] == "runtimes.json"
    assert json.loads(settings(table)["content"]) == [
        {"name": "sdruntime", "type": "sdwebui", "model": "v1-5-pruned-emaonly.safetensors"},
        {"name": "comfy", "type": "comfyui"},
    ]


def test_deleting_a_claim_leaves_the_pictures_unless_the_claim_says_otherwise(api: Manifest) -> None:
    assert "Delete" not in compose(api)["outputs-bucket"]["spec"]["managementPolicies"]
    deleted = compose(claim("inferenceapi", outputs={"deletionPolicy": "Delete"}))["outputs-bucket"]
    assert "managementPolicies" not in deleted["spec"]
    assert settings(deleted)["forceDestroy"] is True


def test_pictures_expire_when_told_to_and_the_routing_table_never(api: Manifest) -> None:
    made = compose(api)
    assert settings(made["outputs-lifecycle"])["rule"][1]["expiration"] == [{"days": 30}]
    assert all("expiration" not in rule for rule in settings(made["config-lifecycle"])["rule"])
    forever = compose(claim("inferenceapi", outputs={}))["outputs-lifecycle"]
    assert all("expiration" not in rule for rule in settings(forever)["rule"])


@pytest.mark.parametrize(
    ("region", "partition"),
    [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eusc-de-east-1", "aws-eusc")],
)
def test_arns_are_right_in_every_partition(region: str, partition: str) -> None:
    _, status = Compositions(APIS).compose(claim("inferenceapi", region=region), {}, lambda _: [])
    assert status["inputTopicArn"].startswith(f"arn:{partition}:sns:{region}:")


def test_a_name_too_long_for_a_bucket_is_refused_with_its_length(api: Manifest) -> None:
    api["metadata"]["name"] = "a" * 25
    with pytest.raises(CompositionError, match="has 25 characters: 24 are allowed"):
        compose(api)


def test_a_runtime_gets_exactly_the_jobs_routed_to_it(api: Manifest) -> None:
    made = compose(claim("inferenceruntime"), {}, api)
    subscription = settings(made["subscription"])
    assert json.loads(subscription["filterPolicy"]) == {"runtime": ["sdruntime"]}
    assert subscription["endpoint"] == "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime"
    allowed = json.loads(settings(made["queue-policy"])["policy"])["Statement"][0]
    assert allowed["Action"] == "sqs:SendMessage"
    assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": api["status"]["inputTopicArn"]}}


def test_a_job_tried_too_often_goes_to_the_dead_letter_queue(api: Manifest) -> None:
    made = compose(claim("inferenceruntime", queue={"maxReceiveCount": 3}), {}, api)
    assert json.loads(settings(made["queue"])["redrivePolicy"]) == {
        "deadLetterTargetArn": "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime_dead-letter",
        "maxReceiveCount": 3,
    }
    assert settings(made["dead-letter-queue"])["name"] == "sdoneks_sdruntime_dead-letter"


def test_pods_cannot_start_before_their_queue_exists_and_keep_its_url_afterwards(api: Manifest) -> None:
    runtime = claim("inferenceruntime")
    first = compose(runtime, {}, api)
    assert "config" not in first
    queue = first["queue"] | {"status": {"atProvider": {"url": "https://sqs/queue"}}}
    second = compose(runtime, {"queue": queue}, api)
    assert second["config"]["metadata"] == {"name": "sdruntime-inference", "namespace": "default"}
    assert second["config"]["data"] == {
        "AWS_DEFAULT_REGION": "us-west-2",
        "MAX_RECEIVE_COUNT": "5",
        "RUNTIME_NAME": "sdruntime",
        "S3_BUCKET": "sdoneks-outputs-123456789012-us-west-2",
        "SNS_TOPIC_ARN": "arn:aws:sns:us-west-2:123456789012:sdoneks-output",
        "SQS_QUEUE_URL": "https://sqs/queue",
        "VISIBILITY_TIMEOUT_SECONDS": "120",
    }
    forgetful = {"queue": first["queue"], "config": second["config"]}
    assert compose(runtime, forgetful, api)["config"] == second["config"]


def test_a_runtime_whose_api_is_missing_says_so_and_drops_nothing() -> None:
    runtime = claim("inferenceruntime")
    with pytest.raises(CompositionError, match=r"InferenceAPI darkroom/sdoneks of spec\.apiRef does not exist"):
        compose(runtime)
    with pytest.raises(CompositionError, match="is not ready yet"):
        compose(runtime, {}, claim("inferenceapi"))


def test_a_runtime_receives_when_its_subscription_and_the_queue_s_policy_are_ready(api: Manifest) -> None:
    runtime = claim("inferenceruntime")
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    made = compose(runtime, {}, api)
    half = {"subscription": made["subscription"] | ready, "queue-policy": made["queue-policy"]}
    whole = half | {"queue-policy": made["queue-policy"] | ready}
    for observed, receiving in ((half, None), (whole, True)):
        _, status = Compositions(APIS).compose(runtime, observed, lambda _: [api])
        assert status.get("receiving") is receiving


def test_nobody_takes_over_the_queue_of_a_runtime_from_another_namespace(api: Manifest) -> None:
    runtime = claim("inferenceruntime")
    runtime["metadata"]["namespace"] = "elsewhere"
    with pytest.raises(CompositionError, match="lists no runtime sdruntime in namespace elsewhere"):
        compose(runtime, {}, api)


def test_no_two_runtimes_share_a_name_in_aws_or_in_their_namespace(api: Manifest) -> None:
    api["spec"]["runtimes"].append({"name": "sdruntime-dead-letter", "namespace": "default", "type": "sdwebui"})
    other = claim("inferenceruntime")
    other["metadata"] = other["metadata"] | {"name": "sdruntime-dead-letter"}
    made = [
        manifest for runtime in (claim("inferenceruntime"), other) for manifest in compose(runtime, {}, api).values()
    ]
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in made]
    assert len(set(names)) == len(names)
    queues = [settings(manifest)["name"] for manifest in made if manifest["kind"] == "Queue"]
    assert len(set(queues)) == 4


def test_agents_understand_everything_that_the_config_map_tells_them(api: Manifest) -> None:
    runtime = claim("inferenceruntime")
    queue = compose(runtime, {}, api)["queue"] | {"status": {"atProvider": {"url": "https://sqs/queue"}}}
    told = {name.lower() for name in compose(runtime, {"queue": queue}, api)["config"]["data"]}
    assert told - set(Settings.model_fields) == {"aws_default_region"}  # an alias


def test_every_field_of_the_definitions_is_described() -> None:
    def undescribed(schema: Manifest, path: str) -> list[str]:
        children = schema.get("properties", {}) | (
            {"[]": schema["items"]} if "properties" in schema.get("items", {}) else {}
        )
        missing = [] if "description" in schema or path.endswith(("spec", "status", "[]")) else [path]
        return missing + [found for name, part in children.items() for found in undescribed(part, f"{path}.{name}")]

    for path in APIS.glob("*/definition.yaml"):
        version = yaml.safe_load(path.read_text())["spec"]["versions"][0]
        assert undescribed(version["schema"]["openAPIV3Schema"], path.parent.name) == []
