"""Claims become AWS resources: what the compositions ask for, seen through the function protocol."""

import json
from typing import Any

import pytest
import yaml

from agent.settings import Settings
from bootstrap.local.compositions import CompositionError
from tests.apps.crossplane.claims import (
    APIS,
    Manifest,
    api,
    claim,
    compose,
    made,
    settings,
    settled,
    statements,
    status,
)


def test_an_api_gets_topics_and_guarded_buckets_under_names_of_its_own() -> None:
    found = compose(api())
    names = {
        found[key]["metadata"]["annotations"]["crossplane.io/external-name"] for key in ("input-topic", "output-topic")
    }
    assert names == {"sdoneks-input", "sdoneks-output"}
    for purpose in ("outputs", "config"):
        name = f"sdoneks-{purpose}-123456789012-us-west-2"
        guards = {
            item["kind"]
            for item in found.values()
            if settings(item).get("bucket") == name and item["kind"] != "BucketObject"
        }
        assert guards == {
            "BucketLifecycleConfiguration",
            "BucketOwnershipControls",
            "BucketPolicy",
            "BucketPublicAccessBlock",
            "BucketServerSideEncryptionConfiguration",
        } | ({"BucketCorsConfiguration"} if purpose == "outputs" else set())


@pytest.mark.parametrize("kind", ["inferenceapi", "inferenceruntime"])
def test_whatever_takes_requests_takes_them_over_tls_only(kind: str) -> None:
    found = compose(claim(kind), {}, api())
    policies = {
        key: statements(item)
        for key, item in found.items()
        if item["kind"] in {"BucketPolicy", "QueuePolicy", "TopicPolicy"}
    }
    assert len(policies) == (6 if kind == "inferenceapi" else 2)
    for told in policies.values():
        refusals = [statement for statement in told if statement["Effect"] == "Deny"]
        assert [refusal["Condition"] for refusal in refusals] == [{"Bool": {"aws:SecureTransport": "false"}}]
        assert {refusal["Principal"] for refusal in refusals} == {"*"}
    guarded = {"Bucket": 2, "Topic": 2, "Queue": 2} if kind == "inferenceapi" else {"Queue": 2}
    assert {name: sum(item["kind"] == name for item in found.values()) for name in guarded} == guarded


def test_everything_that_keeps_data_encrypts_it() -> None:
    front = api()
    found = {
        **compose(front),
        **{f"runtime-{key}": it for key, it in compose(claim("inferenceruntime"), {}, front).items()},
    }
    topics = [settings(item)["kmsMasterKeyId"] for item in found.values() if item["kind"] == "Topic"]
    assert topics == ["alias/aws/sns"] * 2
    # SQS's own key, which SNS may use; those of KMS that AWS manages it may not.
    queues = [settings(item) for item in found.values() if item["kind"] == "Queue"]
    assert [queue["sqsManagedSseEnabled"] for queue in queues] == [True] * 4
    assert not any("kmsMasterKeyId" in queue for queue in queues)


def test_the_status_of_an_api_says_what_runtimes_and_people_need() -> None:
    front = claim("inferenceapi")
    assert status(front, settled(front)) == {
        "region": "us-west-2",
        "accountId": "123456789012",
        "url": "https://id-of-rest-api.execute-api.us-west-2.amazonaws.com/prod",
        "apiKeyCommand": "kubectl get secret -n darkroom sdoneks-api-key "
        r"-o jsonpath='{.data.attribute\.value}' | base64 -d",
        "inputTopicArn": "arn:aws:sns:us-west-2:123456789012:sdoneks-input",
        "outputTopicArn": "arn:aws:sns:us-west-2:123456789012:sdoneks-output",
        "bucket": "sdoneks-outputs-123456789012-us-west-2",
        "configBucket": "sdoneks-config-123456789012-us-west-2",
        "webhookQueueUrl": "https://sqs/sdoneks-webhooks",
        "webhookSecretCommand": "aws secretsmanager get-secret-value --region us-west-2 --secret-id sdoneks-webhooks "
        "--query SecretString --output text",
    }


def test_what_people_were_told_stays_while_aws_cannot_be_seen() -> None:
    front = claim("inferenceapi")
    told = status(front, settled(front))
    assert status(front | {"status": told}) == told
    runtime = claim("inferenceruntime")
    told = status(runtime, settled(runtime, api()), api())
    assert told["queueUrl"] == "https://sqs/sdoneks_sdruntime"
    assert status(runtime | {"status": told}, {}, api())["queueUrl"] == told["queueUrl"]


def test_the_job_api_is_told_the_runtimes_that_receive_in_the_order_of_the_claim() -> None:
    def runtime(name: str, namespace: str, **known: Any) -> Manifest:
        found = claim("inferenceruntime")
        return found | {"metadata": found["metadata"] | {"name": name, "namespace": namespace}, "status": known}

    runtimes = [
        runtime("comfy", "workflows", receiving=True, queueUrl="https://sqs/comfy"),
        runtime("sdruntime", "default", receiving=True),
        runtime("dynamic", "default"),
        runtime("dynamic", "elsewhere", receiving=True),
    ]
    table = compose(api(), {}, *runtimes)["runtimes"]
    assert settings(table)["key"] == "runtimes.json"
    assert json.loads(settings(table)["content"]) == [
        {"name": "sdruntime", "type": "sdwebui", "model": "v1-5-pruned-emaonly.safetensors"},
        {"name": "comfy", "type": "comfyui", "queueUrl": "https://sqs/comfy"},
    ]


def test_deleting_a_claim_leaves_the_pictures_unless_the_claim_says_otherwise() -> None:
    kept = {key: item for key, item in compose(api()).items() if key.startswith("outputs-")}
    assert len(kept) == 7
    for manifest in kept.values():
        assert manifest["spec"]["managementPolicies"] == ["Observe", "Create", "Update", "LateInitialize"]
    assert settings(kept["outputs-bucket"])["forceDestroy"] is False
    deleted = compose(claim("inferenceapi", outputs={"deletionPolicy": "Delete"}))["outputs-bucket"]
    assert "managementPolicies" not in deleted["spec"]
    assert settings(deleted)["forceDestroy"] is True


def expiries(outputs: Manifest) -> dict[str, int]:
    """What expires when, by the prefix of keys, as the claim's `outputs` say."""
    rules = settings(compose(claim("inferenceapi", outputs=outputs))["outputs-lifecycle"])["rule"]
    return {rule["filter"][0]["prefix"]: rule["expiration"][0]["days"] for rule in rules if "expiration" in rule}


def test_pictures_records_and_uploads_expire_when_told_to_and_the_routing_table_never() -> None:
    assert expiries({}) == {"uploads/": 7, "outbox/": 30}
    assert expiries({"retentionDays": 30}) == {"uploads/": 7, "outbox/": 30, "": 30}
    assert expiries({"retentionDays": 30, "recordRetentionDays": 10, "uploadRetentionDays": 1}) == {
        "uploads/": 1,
        "outbox/": 30,
        "": 30,
        "jobs/": 10,
        "index/": 10,
    }
    assert all("expiration" not in rule for rule in settings(compose(api())["config-lifecycle"])["rule"])


def test_uploads_that_nobody_finished_go_after_a_day() -> None:
    for key in ("outputs-lifecycle", "config-lifecycle"):
        first = settings(compose(api())[key])["rule"][0]
        assert first["abortIncompleteMultipartUpload"] == [{"daysAfterInitiation": 1}]


def test_pages_of_named_origins_may_load_pictures_and_upload_inputs() -> None:
    (rule,) = settings(compose(api())["outputs-cors"])["corsRule"]
    assert rule["allowedOrigins"] == ["https://pictures.example.com"]
    assert rule["allowedMethods"] == ["GET", "HEAD", "PUT"]
    environment = settings(compose(api())["api-function"])["environment"]["variables"]
    assert environment["CORS_ALLOWED_ORIGINS"] == "https://pictures.example.com"
    assert "outputs-cors" not in compose(api(outputs={}))


@pytest.mark.parametrize(
    ("region", "partition", "domain"),
    [
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
    ],
)
def test_arns_and_addresses_are_right_in_every_partition(region: str, partition: str, domain: str) -> None:
    front = api(region=region)
    assert front["status"]["inputTopicArn"].startswith(f"arn:{partition}:sns:{region}:")
    assert status(front, settled(front))["url"].endswith(f".{domain}/prod")
    runtime = claim("inferenceruntime")
    everything = json.dumps([settled(front), settled(runtime, front)])
    assert "arn:aws:" not in everything.replace("arn:aws:sns:us-west-2:123456789012:on-call", "")


def test_a_runtime_gets_exactly_the_jobs_routed_to_it() -> None:
    front = api()
    found = compose(claim("inferenceruntime"), {}, front)
    subscription = settings(found["subscription"])
    assert json.loads(subscription["filterPolicy"]) == {"runtime": ["sdruntime"]}
    assert subscription["endpoint"] == "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime"
    allowed = statements(found["queue-policy"])[0]
    assert allowed["Action"] == ["sqs:SendMessage"]
    assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": front["status"]["inputTopicArn"]}}


def test_a_job_tried_too_often_goes_to_the_dead_letter_queue_of_its_own_queue() -> None:
    found = compose(claim("inferenceruntime", queue={"maxReceiveCount": 3}), {}, api())
    assert json.loads(settings(found["queue"])["redrivePolicy"]) == {
        "deadLetterTargetArn": "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime_dead-letter",
        "maxReceiveCount": 4,  # of which the last is for its end to be told, should the agent before have died
    }
    assert settings(found["dead-letter-queue"])["name"] == "sdoneks_sdruntime_dead-letter"
    assert json.loads(settings(found["dead-letter-queue"])["redriveAllowPolicy"])["sourceQueueArns"] == [
        "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime"
    ]


def test_pods_cannot_start_before_their_queue_exists_and_keep_its_url_afterwards() -> None:
    runtime = claim("inferenceruntime")
    first = compose(runtime, {}, api())
    assert "config" not in first
    queue = first["queue"] | {"status": {"atProvider": {"url": "https://sqs/queue"}}}
    second = compose(runtime, {"queue": queue}, api())
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
    assert compose(runtime, forgetful, api())["config"] == second["config"]


def test_a_runtime_whose_api_is_missing_says_so_and_drops_nothing() -> None:
    runtime = claim("inferenceruntime")
    with pytest.raises(CompositionError, match=r"InferenceAPI darkroom/sdoneks of spec\.apiRef does not exist"):
        compose(runtime)
    with pytest.raises(CompositionError, match="is not ready yet"):
        compose(runtime, {}, claim("inferenceapi"))


def test_a_runtime_receives_when_its_subscription_and_the_queue_s_policy_are_ready() -> None:
    runtime = claim("inferenceruntime")
    found = made(compose(runtime, {}, api()))
    assert status(runtime, found, api())["receiving"] is True
    for waiting in ("subscription", "queue-policy"):
        assert "receiving" not in status(runtime, found | {waiting: found[waiting] | {"status": {}}}, api())


def test_nobody_takes_over_the_queue_of_a_runtime_from_another_namespace() -> None:
    runtime = claim("inferenceruntime")
    runtime["metadata"]["namespace"] = "elsewhere"
    with pytest.raises(CompositionError, match="lists no runtime sdruntime in namespace elsewhere"):
        compose(runtime, {}, api())


def test_agents_understand_everything_that_the_config_map_tells_them() -> None:
    runtime = claim("inferenceruntime", inputBuckets=["photographs", "masks"])
    data = settled(runtime, api())["config"]["data"]
    assert data["ALLOWED_INPUT_BUCKETS"] == "photographs,masks"
    told = {name.lower() for name in data}
    assert told - set(Settings.model_fields) == {"aws_default_region"}  # an alias


def test_alarms_tell_the_topic_that_the_api_names() -> None:
    front, silent = api(), api(alarms={})
    for source in (compose(front), compose(claim("inferenceruntime"), {}, front)):
        alarms = [settings(item) for item in source.values() if item["kind"] == "MetricAlarm"]
        assert alarms
        for alarm in alarms:
            assert alarm["alarmActions"] == alarm["okActions"] == ["arn:aws:sns:us-west-2:123456789012:on-call"]
    assert settings(compose(claim("inferenceruntime"), {}, silent)["dead-letters"])["alarmActions"] == []


def test_a_job_that_waits_too_long_and_one_that_was_given_up_are_alarms() -> None:
    found = compose(claim("inferenceruntime", alarms={"oldestJobSeconds": 600}), {}, api())
    oldest, dead = settings(found["oldest-job"]), settings(found["dead-letters"])
    assert (oldest["metricName"], oldest["threshold"]) == ("ApproximateAgeOfOldestMessage", 600)
    assert oldest["dimensions"] == {"QueueName": "sdoneks_sdruntime"}
    assert (dead["metricName"], dead["threshold"]) == ("ApproximateNumberOfMessagesVisible", 0)
    assert dead["dimensions"] == {"QueueName": "sdoneks_sdruntime_dead-letter"}


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
