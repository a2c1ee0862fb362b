"""The REST API in front of the job API: its document, deployments, limits, key and logs."""

import json

import pytest

from apps.crossplane.apis.inferenceapi import gateway as module
from tests.apps.crossplane.claims import Manifest, Observed, api, claim, compose, made, settings, settled, statements


def document(**spec: object) -> Manifest:
    found: Manifest = json.loads(settings(compose(claim("inferenceapi", **spec))["rest-api"])["body"])
    return found


def methods(found: Manifest) -> list[Manifest]:
    return [method for path in found["paths"].values() for method in path.values()]


def deployments(observed: Observed) -> set[str]:
    return {key for key in observed if key.startswith("deployment-")}


def test_every_method_calls_the_function() -> None:
    uris = {method["x-amazon-apigateway-integration"]["uri"] for method in methods(document())}
    function = "arn:aws:lambda:us-west-2:123456789012:function:sdoneks-api"
    assert uris == {f"arn:aws:apigateway:us-west-2:lambda:path/2015-03-31/functions/{function}/invocations"}
    name = compose(claim("inferenceapi"))["api-function"]["metadata"]["annotations"]["crossplane.io/external-name"]
    assert function.endswith(f":{name}")


def test_only_this_api_may_call_the_function() -> None:
    found = settled(claim("inferenceapi"))
    permission = settings(found["api-permission"])
    assert permission["sourceArn"] == "arn:aws:execute-api:us-west-2:123456789012:id-of-rest-api/*/*"
    assert permission["functionNameRef"] == {"name": found["api-function"]["metadata"]["name"]}


def test_jobs_need_a_key_unless_the_claim_says_otherwise() -> None:
    assert document()["paths"]["/v1/jobs"]["post"]["security"]
    free = document(apiKey={"required": False})
    assert not any("security" in method for method in methods(free))
    found = compose(claim("inferenceapi", apiKey={"required": False}))
    assert {"api-key", "usage-plan", "usage-plan-key"}.isdisjoint(found)


def test_the_value_of_the_key_is_put_where_the_status_says() -> None:
    front = claim("inferenceapi")
    key = compose(front)["api-key"]
    assert key["spec"]["writeConnectionSecretToRef"] == {"name": "sdoneks-api-key"}
    assert "value" not in str(settings(key))


def test_each_key_and_all_together_are_limited() -> None:
    limited = claim("inferenceapi", throttle={"rateLimit": 5, "burstLimit": 7})
    found = compose(limited)
    assert settings(found["usage-plan"])["throttleSettings"] == {"rateLimit": 5, "burstLimit": 7}
    assert settings(found["stage-limits"])["settings"]["throttlingRateLimit"] == 1000
    free = compose(claim("inferenceapi", throttle={"rateLimit": 5, "burstLimit": 7}, apiKey={"required": False}))
    assert settings(free["stage-limits"])["settings"]["throttlingRateLimit"] == 5


def test_the_document_is_deployed_when_aws_has_it() -> None:
    front = claim("inferenceapi")
    first = compose(front)
    assert deployments(first) == set()
    observed = made(first)
    (name,) = deployments(compose(front, observed))
    assert name == f"deployment-{module.digest(settings(first['rest-api'])['body'])}"


def test_another_document_is_another_deployment_and_the_last_one_serves_until_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = claim("inferenceapi")
    before = settled(front)
    (old,) = deployments(before)

    other = claim("inferenceapi", apiKey={"required": False})
    asked = compose(other, before)
    # AWS still has the document before: what would be deployed now is that.
    assert deployments(asked) == {old}
    assert settings(asked["stage"])["deploymentIdRef"]["name"] == f"sdoneks.{old}"

    before["rest-api"] = made(asked)["rest-api"]
    asked = compose(other, before)
    (new,) = deployments(asked) - {old}
    assert old in asked
    assert settings(asked["stage"])["deploymentIdRef"] == {"name": f"sdoneks.{new}", "policy": {"resolve": "Always"}}

    # Both are there, and the stage has not moved: AWS would not let the old one go.
    observed = made(asked)
    observed["stage"]["status"]["atProvider"]["deploymentId"] = f"id-of-{old}"
    assert deployments(compose(other, observed)) == {old, new}
    assert deployments(compose(other, made(asked))) == {new}


def test_a_request_leaves_a_line_without_what_is_secret_in_it() -> None:
    front = claim("inferenceapi", logs={"retentionDays": 7})
    found = compose(front)
    log = settings(found["stage"])["accessLogSettings"]
    assert log["destinationArn"] == "arn:aws:logs:us-west-2:123456789012:log-group:/aws/apigateway/sdoneks"
    assert {"querystring", "header", "apiKey\\b", "body"}.isdisjoint(log["format"].replace(".", " ").split())
    assert "$context.identity.apiKeyId" in log["format"]
    assert {settings(item)["retentionInDays"] for item in found.values() if item["kind"] == "Group"} == {7}


def test_the_role_of_the_account_for_logs_outlives_the_claim_or_is_left_to_others() -> None:
    found = compose(claim("inferenceapi"))
    for key in ("access-log-role", "access-log-role-policy", "access-log-account"):
        assert "Delete" not in found[key]["spec"]["managementPolicies"]
    existing = compose(claim("inferenceapi", logs={"accountRole": "Existing"}))
    assert "access-log" in existing
    assert "access-log-account" not in existing
    none = compose(claim("inferenceapi", logs={"access": False}))
    assert not any(key.startswith("access-log") for key in none)
    assert "accessLogSettings" not in settings(none["stage"])


@pytest.mark.parametrize("traced", [True, False])
def test_a_request_is_traced_all_the_way_or_not_at_all(traced: bool) -> None:
    found = compose(api(tracing=traced))
    mode = "Active" if traced else "PassThrough"
    assert settings(found["stage"])["xrayTracingEnabled"] is traced
    assert {settings(it)["tracingConfig"]["mode"] for it in found.values() if it["kind"] == "Function"} == {mode}
    assert {settings(it)["tracingConfig"] for it in found.values() if it["kind"] == "Topic"} == {mode}
    assert ("topics-trace" in found) is traced


def test_sns_may_write_traces_of_these_topics_alone() -> None:
    state = json.loads(settings(compose(api())["topics-trace"])["desiredState"])
    (statement,) = json.loads(state["PolicyDocument"])["Statement"]
    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
    assert statement["Condition"] == {
        "ArnLike": {
            "aws:SourceArn": [
                "arn:aws:sns:us-west-2:123456789012:sdoneks-input",
                "arn:aws:sns:us-west-2:123456789012:sdoneks-output",
            ]
        },
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }


def test_all_functions_run_the_image_of_the_claim() -> None:
    found = compose(
        claim(
            "inferenceapi",
            function={
                "image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/ours/api:1.2.3",
                "architecture": "arm64",
                "memoryMegabytes": 512,
            },
        )
    )
    functions = {key: settings(item) for key, item in found.items() if item["kind"] == "Function"}
    assert {key: it["imageConfig"]["command"] for key, it in functions.items()} == {
        "api-function": ["api.aws_lambda.handler"],
        "reconciler-function": ["api.reconciliation.handler"],
        "webhooks-function": ["api.webhooks.handler"],
    }
    for function in functions.values():
        assert function["imageUri"].endswith("/ours/api:1.2.3")
        assert (function["architectures"], function["memorySize"]) == (["arm64"], 512)


def test_what_an_instance_left_undone_is_looked_for_every_minute() -> None:
    found = compose(claim("inferenceapi"))
    assert settings(found["reconciler-schedule"])["scheduleExpression"] == "rate(1 minute)"
    assert settings(found["reconciler-target"])["arn"].endswith(":function:sdoneks-reconciler")
    assert settings(found["reconciler-permission"])["sourceArn"].endswith(":rule/sdoneks-reconciler")


def test_a_webhook_that_fails_goes_back_alone_and_at_last_to_the_dead_letters() -> None:
    found = compose(claim("inferenceapi"))
    source = settings(found["webhooks-source"])
    assert source["functionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["eventSourceArn"] == "arn:aws:sqs:us-west-2:123456789012:sdoneks-webhooks"
    queue, function = settings(found["webhooks-queue"]), settings(found["webhooks-function"])
    assert queue["visibilityTimeoutSeconds"] >= 6 * function["timeout"]
    assert json.loads(queue["redrivePolicy"])["deadLetterTargetArn"].endswith(":sdoneks-webhooks-dead-letter")
    assert json.loads(settings(found["webhooks-subscription"])["filterPolicy"]) == {"webhook": ["true"]}
    assert settings(found["webhooks-subscription"])["topicArn"].endswith(":sdoneks-output")


def test_aws_draws_the_secret_of_webhooks_and_only_their_function_may_read_it() -> None:
    found = compose(claim("inferenceapi"))
    state = json.loads(settings(found["webhooks-secret"])["desiredState"])
    assert state["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
    assert state["Tags"] == [{"Key": "cost-centre", "Value": "inference"}]
    readers = {
        key
        for key, item in found.items()
        if item["kind"] == "RolePolicy" and "secretsmanager" in json.dumps(statements(item))
    }
    assert readers == {"webhooks-role-policy"}
    assert settings(found["webhooks-function"])["environment"]["variables"]["WEBHOOK_SECRET_ID"] == state["Name"]
