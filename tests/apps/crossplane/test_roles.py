"""Who may do what: every role has what its code needs and no more. That none allows `*` is a rule of tests/policy."""

import fnmatch
from typing import Any

import pytest

from tests.apps.crossplane.claims import Manifest, api, claim, compose, settled, statements

FRONT = api()
OUTPUTS = "arn:aws:s3:::sdoneks-outputs-123456789012-us-west-2"
POLICIES = {
    **{f"api {key}": item for key, item in settled(FRONT).items() if item["kind"] == "RolePolicy"},
    **{
        f"runtime {key}": item
        for key, item in settled(claim("inferenceruntime", inputBuckets=["photographs"]), FRONT).items()
        if item["kind"] == "RolePolicy"
    },
}


def may(policy: Manifest, action: str, resource: str) -> bool:
    """Whether a policy lets its role do `action` to `resource`, as IAM decides: a refusal outweighs permissions."""
    effects = {
        statement["Effect"]
        for statement in statements(policy)
        if action in statement["Action"] and any(fnmatch.fnmatchcase(resource, name) for name in statement["Resource"])
    }
    return effects == {"Allow"}


def test_there_are_roles_to_look_at() -> None:
    assert set(POLICIES) == {
        "api access-log-role-policy",
        "api api-role-policy",
        "api reconciler-role-policy",
        "api webhooks-role-policy",
        "runtime role-policy",
    }


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("sns:Publish", "arn:aws:sns:us-west-2:123456789012:sdoneks-input", True),
        ("sns:Publish", "arn:aws:sns:us-west-2:123456789012:sdoneks-output", False),
        ("s3:GetObject", "arn:aws:s3:::sdoneks-config-123456789012-us-west-2/runtimes.json", True),
        ("s3:PutObject", "arn:aws:s3:::sdoneks-config-123456789012-us-west-2/runtimes.json", False),
        ("s3:ListBucket", "arn:aws:s3:::sdoneks-config-123456789012-us-west-2", True),
        ("s3:ListBucket", OUTPUTS, True),
        ("s3:PutObject", f"{OUTPUTS}/jobs/1/job.json", True),
        ("s3:PutObject", f"{OUTPUTS}/index/1~1", True),
        ("s3:PutObject", f"{OUTPUTS}/outbox/1~1", True),
        ("s3:DeleteObject", f"{OUTPUTS}/outbox/1~1", True),
        ("s3:DeleteObject", f"{OUTPUTS}/jobs/1/job.json", False),
        ("s3:PutObject", f"{OUTPUTS}/uploads/1/cat.png", True),
        ("s3:PutObject", f"{OUTPUTS}/output/1/1-1.png", False),
        ("s3:GetObject", f"{OUTPUTS}/output/1/1-1.png", True),
        ("sqs:GetQueueAttributes", "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime", True),
        ("sqs:GetQueueAttributes", "arn:aws:sqs:us-west-2:123456789012:other_sdruntime", False),
        ("sqs:ReceiveMessage", "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime", False),
        (
            "logs:PutLogEvents",
            "arn:aws:logs:us-west-2:123456789012:log-group:/aws/lambda/sdoneks-api:log-stream:1",
            True,
        ),
        ("logs:CreateLogGroup", "arn:aws:logs:us-west-2:123456789012:log-group:/aws/lambda/sdoneks-api", False),
    ],
)
def test_the_job_api_may_take_jobs_and_tell_of_them(action: str, resource: str, allowed: bool) -> None:
    assert may(POLICIES["api api-role-policy"], action, resource) is allowed


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("sns:Publish", "arn:aws:sns:us-west-2:123456789012:sdoneks-input", True),
        ("s3:GetObject", f"{OUTPUTS}/outbox/1~1", True),
        ("s3:DeleteObject", f"{OUTPUTS}/outbox/1~1", True),
        ("s3:PutObject", f"{OUTPUTS}/jobs/1/job.json", True),
        ("s3:GetObject", f"{OUTPUTS}/output/1/1-1.png", False),
    ],
)
def test_reconciliation_may_finish_what_was_begun(action: str, resource: str, allowed: bool) -> None:
    assert may(POLICIES["api reconciler-role-policy"], action, resource) is allowed


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("sqs:ReceiveMessage", "arn:aws:sqs:us-west-2:123456789012:sdoneks-webhooks", True),
        ("sqs:ChangeMessageVisibility", "arn:aws:sqs:us-west-2:123456789012:sdoneks-webhooks", True),
        ("sqs:ReceiveMessage", "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime", False),
        ("s3:GetObject", f"{OUTPUTS}/jobs/1/result.json", True),
        ("s3:PutObject", f"{OUTPUTS}/jobs/1/webhook.json", True),
        ("s3:PutObject", f"{OUTPUTS}/output/1/1-1.png", False),
        ("sns:Publish", "arn:aws:sns:us-west-2:123456789012:sdoneks-input", False),
        (
            "secretsmanager:GetSecretValue",
            "arn:aws:secretsmanager:us-west-2:123456789012:secret:sdoneks-webhooks-a1B2c3",
            True,
        ),
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-west-2:123456789012:secret:other-a1B2c3", False),
    ],
)
def test_the_deliverer_of_webhooks_may_read_ends_and_sign(action: str, resource: str, allowed: bool) -> None:
    assert may(POLICIES["api webhooks-role-policy"], action, resource) is allowed


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("sqs:ReceiveMessage", "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime", True),
        ("sqs:ChangeMessageVisibility", "arn:aws:sqs:us-west-2:123456789012:sdoneks_sdruntime", True),
        ("sqs:DeleteMessage", "arn:aws:sqs:us-west-2:123456789012:sdoneks_dynamic", False),
        ("sns:Publish", "arn:aws:sns:us-west-2:123456789012:sdoneks-output", True),
        ("sns:Publish", "arn:aws:sns:us-west-2:123456789012:sdoneks-input", False),
        ("s3:PutObject", f"{OUTPUTS}/output/1/1-1.png", True),
        ("s3:PutObject", f"{OUTPUTS}/jobs/1/result.json", True),
        ("s3:PutObject", f"{OUTPUTS}/uploads/1/cat.png", False),
        ("s3:PutObject", f"{OUTPUTS}/outbox/1~1", False),
        ("s3:GetObject", f"{OUTPUTS}/outbox/1~1", False),
        ("s3:GetObject", f"{OUTPUTS}/uploads/1/cat.png", True),
        ("s3:ListBucket", OUTPUTS, True),
        ("s3:DeleteObject", f"{OUTPUTS}/output/1/1-1.png", False),
        ("s3:PutObject", "arn:aws:s3:::sdoneks-config-123456789012-us-west-2/runtimes.json", False),
        ("s3:GetObject", "arn:aws:s3:::photographs/cat.png", True),
        ("s3:PutObject", "arn:aws:s3:::photographs/cat.png", False),
    ],
)
def test_the_pods_of_a_runtime_may_serve_its_jobs(action: str, resource: str, allowed: bool) -> None:
    assert may(POLICIES["runtime role-policy"], action, resource) is allowed


def trust(kind: str, key: str) -> Any:
    found = compose(claim(kind), {}, FRONT)[key]
    (statement,) = statements(found, "assumeRolePolicy")
    return statement


def test_a_role_is_for_one_service_alone() -> None:
    assert trust("inferenceapi", "api-role")["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert trust("inferenceapi", "webhooks-role")["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert trust("inferenceapi", "access-log-role")["Principal"] == {"Service": "apigateway.amazonaws.com"}


def test_the_role_of_a_runtime_is_for_its_own_service_account_alone() -> None:
    pods = trust("inferenceruntime", "role")
    assert pods["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert pods["Condition"]["StringEquals"] == {
        "aws:RequestTag/eks-cluster-name": "sdoneks",
        "aws:RequestTag/kubernetes-namespace": "default",
        "aws:RequestTag/kubernetes-service-account": "sdruntime-inference",
    }
    association = compose(claim("inferenceruntime"), {}, FRONT)["pod-identity"]["spec"]["forProvider"]
    assert association["clusterName"] == "sdoneks"
    assert (association["namespace"], association["serviceAccount"]) == ("default", "sdruntime-inference")
