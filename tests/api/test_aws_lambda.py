"""The API on Lambda: the same answers through API Gateway's proxy events, under whatever stage it is deployed to."""

import asyncio
import base64
import json
from typing import Any

import pytest

from api import aws_lambda, log, openapi
from contract import keys
from tests.api.conftest import CONFIG_BUCKET, Platform


@pytest.fixture
def lambda_environment(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SNS_TOPIC_ARN", platform.settings.sns_topic_arn)
    monkeypatch.setenv("S3_OUTPUT_BUCKET", platform.settings.s3_output_bucket)
    monkeypatch.setenv("RUNTIMES_BUCKET", CONFIG_BUCKET)
    monkeypatch.setattr(aws_lambda, "connect", lambda: platform.aws)
    monkeypatch.setattr("api.log.configure", lambda: None)
    aws_lambda.adapter.cache_clear()
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())  # else Mangum makes one and never closes it
        yield
    aws_lambda.adapter.cache_clear()


def event(method: str, path: str, body: Any = None, *, resource: str = "/{proxy+}", root: str = "/prod") -> Any:
    """Return what API Gateway sends for a request; with a custom domain `root` is part of the path too."""
    parameters = {"proxy": path.removeprefix("/")} if resource == "/{proxy+}" else None
    if resource == "/v1/jobs/{id}":
        parameters = {"id": path.removeprefix("/v1/jobs/")}
    headers = {"Content-Type": "application/json", "Host": "abc.execute-api.us-east-1.amazonaws.com"}
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": parameters,
        "stageVariables": None,
        "requestContext": {
            "stage": "prod",
            "path": root + path,
            "httpMethod": method,
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def test_the_guidances_form_is_answered_at_the_root_of_the_stage(platform: Platform, lambda_environment: None) -> None:
    header = {"task": "text-to-image", "sd_model_checkpoint": "tiny.safetensors", "id_task": "1"}
    answer = aws_lambda.handler(event("POST", "/", {"alwayson_scripts": header}, resource="/"), None)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["id_task"] == "1"
    refused = aws_lambda.handler(event("POST", "/", {}, resource="/"), None)
    assert (refused["statusCode"], refused["body"]) == (400, "Incorrect payload structure")
    assert len(platform.delivered()["tiny"]) == 1


@pytest.mark.parametrize(
    ("resources", "root", "self_link"),
    [
        (("/{proxy+}", "/{proxy+}"), "/prod", "/prod/v1/jobs/mine"),
        (("/v1/jobs", "/v1/jobs/{id}"), "/prod", "/prod/v1/jobs/mine"),
        (("/{proxy+}", "/{proxy+}"), "", "/v1/jobs/mine"),
    ],
)
def test_links_lead_through_the_stage(
    platform: Platform, lambda_environment: None, resources: tuple[str, str], root: str, self_link: str
) -> None:
    body = {"id": "mine", "runtime": "tiny", "input": {}}
    answer = aws_lambda.handler(event("POST", "/v1/jobs", body, resource=resources[0], root=root), None)
    assert answer["statusCode"] == 202
    assert answer["headers"]["location"] == self_link
    found = aws_lambda.handler(event("GET", "/v1/jobs/mine", resource=resources[1], root=root), None)
    assert json.loads(found["body"])["links"]["self"] == self_link


@pytest.mark.parametrize("resource", ["/{proxy+}", "/v1/jobs/{id}"])
def test_an_id_of_an_older_form_comes_percent_encoded(
    platform: Platform, lambda_environment: None, resource: str
) -> None:
    platform.put("my%20%25job~aaaaaaaaaaaa", keys.STARTED, {})
    found = aws_lambda.handler(event("GET", "/v1/jobs/my%20%25job", resource=resource), None)
    answer = json.loads(found["body"])
    assert (answer["id"], answer["links"]["self"]) == ("my %job", "/prod/v1/jobs/my%20%25job")


def test_a_custom_domain_with_a_base_path(platform: Platform, lambda_environment: None) -> None:
    asked = event("POST", "/v1/jobs", {"id": "mine", "runtime": "tiny", "input": {}})
    asked["path"] = asked["requestContext"]["path"] = "/pictures/v1/jobs"
    answer = aws_lambda.handler(asked, None)
    assert (answer["statusCode"], answer["headers"]["location"]) == (202, "/pictures/v1/jobs/mine")


def test_a_body_in_base64(platform: Platform, lambda_environment: None) -> None:
    asked = event("POST", "/v1/jobs", {"runtime": "tiny", "input": {}})
    asked["body"] = base64.b64encode(asked["body"].encode()).decode()
    asked["isBase64Encoded"] = True
    assert aws_lambda.handler(asked, None)["statusCode"] == 202


def test_the_console_finds_its_files_under_the_stage(platform: Platform, lambda_environment: None) -> None:
    page = aws_lambda.handler(event("GET", "/", resource="/"), None)
    assert '<base href="/prod/">' in page["body"]
    script = aws_lambda.handler(event("GET", "/console/console.js"), None)
    assert (script["statusCode"], script["isBase64Encoded"]) == (200, False)


def test_all_that_the_api_answers_is_text_which_api_gateway_hands_on_as_it_is(
    platform: Platform, lambda_environment: None
) -> None:
    document = json.loads(openapi.FILE.read_text(encoding="utf-8"))
    kinds = {
        kind
        for operations in document["paths"].values()
        for operation in operations.values()
        for answer in operation["responses"].values()
        for kind in answer.get("content", {})
    }
    assert {kind for kind in kinds if not kind.startswith(tuple(aws_lambda.TEXT))} == set()
    for asked in (event("GET", "/v1/jobs/absent"), event("GET", "/console/icon.svg"), event("GET", "/v2")):
        assert aws_lambda.handler(asked, None)["isBase64Encoded"] is False


def test_the_trace_goes_on_with_the_job_and_is_in_the_log(
    platform: Platform,
    lambda_environment: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lambda puts it into the environment; botocore hands it to SNS, and SNS to the queue."""
    trace = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1"
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "api")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
    sent: list[str] = []
    platform.aws.sns.meta.events.register_last(
        "before-send.sns.Publish", lambda request, **_: sent.append(str(request.headers.get("X-Amzn-Trace-Id")))
    )
    body = {"id": "mine", "runtime": "tiny", "input": {}}
    assert aws_lambda.handler(event("POST", "/v1/jobs", body), None)["statusCode"] == 202
    assert [header.removeprefix("b'").removesuffix("'") for header in sent] == [trace]
    assert log.add_trace(None, "info", {"event": "x"}) == {"event": "x", "trace": trace[5:40]}
    monkeypatch.delenv("_X_AMZN_TRACE_ID")
    assert log.add_trace(None, "info", {"event": "x"}) == {"event": "x"}
