"""What config.yaml says of the API, its logs, alarms, bucket and tags stands in the claims."""

import tomllib

import pytest

from generator.load import ConfigError, load
from generator.model import VERSION
from tests.generator.cases import CLUSTER, ROOT, Manifest, manifests

RUNTIME = "modelsRuntime: [{name: one, modelFilename: a.safetensors}]"
EVERYTHING = f"""
stackName: stack
{RUNTIME}
APIGW: {{stageName: dev, throttle: {{rateLimit: 10, burstLimit: 2}}}}
{CLUSTER}
  name: other
  tags: {{team: pictures}}
  tracing: false
  inputBuckets: [photographs]
  api:
    image: 123456789012.dkr.ecr.us-west-2.amazonaws.com/ours/api:1.2.3
    architecture: arm64
    memoryMegabytes: 512
    keyRequired: false
    logRetentionDays: 7
    accessLog: false
    accountLogRole: Existing
  alarms: {{topicArn: "arn:aws:sns:us-west-2:123456789012:on-call", oldestJobSeconds: 600}}
  outputs:
    retentionDays: 30
    recordRetentionDays: 10
    uploadRetentionDays: 2
    deletionPolicy: Delete
    corsAllowedOrigins: ["https://pictures.example.com"]
"""


def api(text: str) -> Manifest:
    spec: Manifest = manifests(text)["claims/inference-api.yaml"]["spec"]
    return spec


def test_everything_that_can_be_said_of_the_api_stands_in_its_claim() -> None:
    assert {key: value for key, value in api(EVERYTHING).items() if key != "runtimes"} == {
        "region": "us-west-2",
        "accountId": "123456789012",
        "clusterName": "other",
        "tags": {"team": "pictures"},
        "tracing": False,
        "function": {
            "image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/ours/api:1.2.3",
            "architecture": "arm64",
            "memoryMegabytes": 512,
        },
        "stageName": "dev",
        "apiKey": {"required": False},
        "throttle": {"rateLimit": 10, "burstLimit": 2},
        "logs": {"retentionDays": 7, "access": False, "accountRole": "Existing"},
        "alarms": {"topicArn": "arn:aws:sns:us-west-2:123456789012:on-call"},
        "outputs": {
            "retentionDays": 30,
            "recordRetentionDays": 10,
            "uploadRetentionDays": 2,
            "deletionPolicy": "Delete",
            "corsAllowedOrigins": ["https://pictures.example.com"],
        },
    }


def test_runtimes_are_told_what_concerns_each_of_them() -> None:
    spec = manifests(EVERYTHING)["claims/runtimes/one.yaml"]["spec"]
    assert spec == {
        "apiRef": {"name": "stack", "namespace": "darkroom"},
        "inputBuckets": ["photographs"],
        "alarms": {"oldestJobSeconds": 600},
    }


@pytest.mark.parametrize(
    ("region", "domain"),
    [("us-west-2", "amazonaws.com"), ("cn-north-1", "amazonaws.com.cn"), ("eusc-de-east-1", "amazonaws.eu")],
)
def test_the_guidances_file_gets_the_projects_own_image_from_its_registry(region: str, domain: str) -> None:
    found = api(f"{RUNTIME}\n{CLUSTER.replace('us-west-2', region)}")["function"]["image"]
    assert found == f"123456789012.dkr.ecr.{region}.{domain}/darkroom/api:{VERSION}"


def test_the_version_of_images_is_the_projects() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_the_cluster_is_called_as_its_stack_unless_it_has_another_name() -> None:
    assert api(f"stackName: stack\n{RUNTIME}\n{CLUSTER}")["clusterName"] == "stack"


def test_what_could_expire_before_its_job_is_done_is_said() -> None:
    found = load(f"{RUNTIME}\n{CLUSTER}  outputs: {{uploadRetentionDays: 2}}\n", "config.yaml").warnings
    assert ["uploadRetentionDays: is no longer than the 4 days" in warning for warning in found] == [True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("api: {image: docker.io/ours/api:1}", "cluster.api.image"),
        ("api: {image: 123456789012.dkr.ecr.us-west-2.amazonaws.com/ours/api}", "with a tag or digest"),
        ("alarms: {topicArn: on-call}", "should be the ARN of an SNS topic"),
        ("outputs: {retentionDays: 5, recordRetentionDays: 6}", "is more than the 5 retentionDays"),
        ("api: {image: '123456789012.dkr.ecr.us-east-1.amazonaws.com/ours/api:1'}", "is not in us-west-2, and Lambda"),
        ("alarms: {topicArn: 'arn:aws:sns:us-east-1:123456789012:on-call'}", "is not in us-west-2, and alarms"),
        ("inputBuckets: [Photographs]", "should be the name of an S3 bucket"),
        (
            "production: true\n  api: {image: '123456789012.dkr.ecr.us-west-2.amazonaws.com/ours/api:latest'}",
            "cluster.api.image: latest is refused because cluster.production is true",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_a_mend(given: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(f"{RUNTIME}\n{CLUSTER}  {given}\n", "config.yaml")
    assert message in str(refused.value)
