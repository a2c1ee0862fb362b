"""Claims become queues, topics and buckets of a running AWS (emulator), and go again."""

import json
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from bootstrap.local.admission import Admission, InvalidClaimError
from bootstrap.local.compositions import CompositionError, Compositions
from bootstrap.local.provider import Provider
from bootstrap.local.reconciler import Reconciler
from tests.conftest import ACCOUNT_ID, REGION, Aws

Manifest = dict[str, Any]


@pytest.fixture
def reconciler(aws: Aws, repository: Path) -> Reconciler:
    session = boto3.Session(
        aws_access_key_id=aws.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws.environ["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )
    apis = repository / "apps" / "crossplane" / "apis"
    return Reconciler(partial(Provider, session, aws.url), Admission(apis), Compositions(apis))


@pytest.fixture
def claims(repository: Path) -> Callable[..., list[Manifest]]:
    """Makes the claims of a cluster of its own with runtimes of the given names."""
    apis = repository / "apps" / "crossplane" / "apis"
    name = f"t{uuid.uuid4().hex[:8]}"

    def make(*runtimes: str, **api_spec: Any) -> list[Manifest]:
        api = yaml.safe_load((apis / "inferenceapi" / "example.yaml").read_text())
        api["metadata"]["name"] = name
        table = [{"name": runtime, "namespace": "default", "type": "sdwebui", "dynamic": True} for runtime in runtimes]
        api["spec"] |= {"region": REGION, "accountId": ACCOUNT_ID, "outputs": {}, "runtimes": table, **api_spec}
        made = [api]
        for runtime in runtimes:
            one = yaml.safe_load((apis / "inferenceruntime" / "example.yaml").read_text())
            one["metadata"] |= {"name": runtime, "labels": {"darkroom.dev/api": name}}
            one["spec"]["apiRef"]["name"] = name
            # Runtimes first: order must not matter.
            made.insert(0, one)
        return made

    return make


def test_claims_become_queues_that_get_their_own_jobs_only(
    aws: Aws, reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    reconciler.reconcile(claims("one", "two"))
    topic = reconciler.status("InferenceAPI")["inputTopicArn"]
    for name in ("two", "elsewhere"):
        attribute = {"runtime": {"DataType": "String", "StringValue": name}}
        aws.client("sns").publish(TopicArn=topic, Message="for two", MessageAttributes=attribute)
    received = {
        name: aws.client("sqs").receive_message(
            QueueUrl=reconciler.status("InferenceRuntime", name)["queueUrl"], WaitTimeSeconds=0, MaxNumberOfMessages=10
        )
        for name in ("one", "two")
    }
    assert "Messages" not in received["one"]
    assert len(received["two"]["Messages"]) == 1
    assert '"for two"' in received["two"]["Messages"][0]["Body"]


def test_the_job_api_is_told_every_runtime_that_receives(
    aws: Aws, reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    reconciler.reconcile(claims("one", "two"))
    bucket = reconciler.status("InferenceAPI")["configBucket"]
    table = json.loads(aws.client("s3").get_object(Bucket=bucket, Key="runtimes.json")["Body"].read())
    assert [runtime["name"] for runtime in table] == ["one", "two"]
    assert reconciler.status("InferenceRuntime", "two")["receiving"]


def test_the_config_map_tells_pods_where_everything_is(
    reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    reconciler.reconcile(claims("one"))
    config = reconciler.config_map("one-inference")
    assert config is not None
    assert config["SQS_QUEUE_URL"] == reconciler.status("InferenceRuntime", "one")["queueUrl"]


def test_a_changed_claim_changes_what_is_there(
    aws: Aws, reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    made = claims("one")
    reconciler.reconcile(made)
    made[0]["spec"]["queue"] = {"visibilityTimeoutSeconds": 240}
    reconciler.reconcile(made)
    url = reconciler.status("InferenceRuntime", "one")["queueUrl"]
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
    assert attributes["Attributes"]["VisibilityTimeout"] == "240"


def test_a_removed_runtime_takes_its_queues_with_it_and_leaves_the_others(
    aws: Aws, reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    reconciler.reconcile(claims("one", "two"))
    api = reconciler.status("InferenceAPI")
    reconciler.reconcile(claims("one"))
    prefix = api["inputTopicArn"].rsplit(":", 1)[1].removesuffix("-input") + "_"
    queues = aws.client("sqs").list_queues(QueueNamePrefix=prefix)["QueueUrls"]
    assert {url.rsplit("/", 1)[1].removeprefix(prefix) for url in queues} == {"one", "one_dead-letter"}
    subscriptions = aws.client("sns").list_subscriptions_by_topic(TopicArn=api["inputTopicArn"])["Subscriptions"]
    assert [subscription["Endpoint"].rsplit(":", 1)[1] for subscription in subscriptions] == [f"{prefix}one"]
    table = aws.client("s3").get_object(Bucket=api["configBucket"], Key="runtimes.json")["Body"].read()
    url = reconciler.status("InferenceRuntime", "one")["queueUrl"]
    assert json.loads(table) == [{"name": "one", "type": "sdwebui", "dynamic": True, "queueUrl": url}]


@pytest.mark.parametrize(("policy", "left"), [("Retain", True), ("Delete", False)])
def test_deleting_the_api_leaves_pictures_unless_told_otherwise(
    policy: str, left: bool, aws: Aws, reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    reconciler.reconcile(claims(outputs={"deletionPolicy": policy}))
    bucket = reconciler.status("InferenceAPI")["bucket"]
    aws.client("s3").put_object(Bucket=bucket, Key="output/1/1-ab12-1.png", Body=b"picture")
    reconciler.reconcile([])
    names = {found["Name"] for found in aws.client("s3").list_buckets()["Buckets"]}
    assert (bucket in names) is left


def test_the_end_of_a_job_that_names_a_webhook_waits_for_its_delivery_and_no_other_does(
    aws: Aws, reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    reconciler.reconcile(claims())
    api = reconciler.status("InferenceAPI")
    told = {"webhook": {"DataType": "String", "StringValue": "true"}}
    for message, attributes in (("with", told), ("without", {})):
        aws.client("sns").publish(TopicArn=api["outputTopicArn"], Message=message, MessageAttributes=attributes)
    received = aws.client("sqs").receive_message(QueueUrl=api["webhookQueueUrl"], MaxNumberOfMessages=10)
    assert [json.loads(found["Body"])["Message"] for found in received["Messages"]] == ["with"]


def test_what_is_asked_for_and_not_made_here_is_named(
    reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    assert reconciler.not_run == []
    reconciler.reconcile(claims("one"))
    assert [words.partition(" (")[0] for words in reconciler.not_run] == [
        "API Gateway",
        "X-Ray and Secrets Manager",
        "alarms",
        "the schedule of reconciliation",
        "CloudWatch Logs",
        "pod identity",
        "IAM",
        "Lambda",
    ]


def test_a_name_that_is_too_long_for_buckets_is_refused(
    reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    (api,) = claims()
    api["metadata"]["name"] = "a" * 25
    with pytest.raises(InvalidClaimError, match=r"metadata\.name: 'a+' is too long"):
        reconciler.reconcile([api])


def test_a_claim_that_its_definition_refuses_changes_nothing_and_names_every_problem(
    reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    made = claims("one")
    made[0]["spec"]["queue"] = {"maxReceiveCount": 0, "visibility": 1}
    with pytest.raises(InvalidClaimError, match=r"default/one: spec\.queue: .*visibility.*maxReceiveCount: 0 is less"):
        reconciler.reconcile(made)
    assert reconciler.status("InferenceAPI") == {}


def test_a_runtime_without_its_api_is_refused_while_the_rest_is_made(
    reconciler: Reconciler, claims: Callable[..., list[Manifest]]
) -> None:
    made = claims("one", "two")
    made[0]["spec"]["apiRef"]["name"] = "missing"
    with pytest.raises(CompositionError, match="InferenceRuntime default/two: InferenceAPI darkroom/missing"):
        reconciler.reconcile(made)
    assert reconciler.config_map("one-inference")
    assert not reconciler.config_map("two-inference")
