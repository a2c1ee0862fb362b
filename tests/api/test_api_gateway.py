"""The API as AWS runs it: API Gateway, which knows keys and limits, before the function. The emulator plays both."""

import io
import json
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
import httpx
import pytest

from bootstrap.local import emulator
from bootstrap.local.programs import Ports, Program, Programs, answers
from contract import keys
from contract.job import decode
from generator import gateway
from tests.conftest import ACCOUNT_ID, REGION, REPOSITORY

SERVICES = "sqs,sns,s3,lambda,apigateway,iam"
OUTPUTS, CONFIG = "gateway-outputs", "gateway-config"
STAGE = "prod"
# What an image has in place already. The emulator runs functions with the Python that it runs on itself.
HANDLER = f"""
import sys
sys.path[:0] = [{str(REPOSITORY)!r}, {sysconfig.get_path("purelib")!r}]
from api.aws_lambda import handler
"""
# As large as the answer to its first request takes on a busy machine.
TIMEOUT_S = 60


@dataclass
class Stage:
    """A deployed stage."""

    url: str
    key: str
    slow_key: str
    receive: Callable[[], list[str]]

    def ask(self, method: str, path: str, key: str | None = None, **asked: Any) -> httpx.Response:
        headers = asked.pop("headers", {}) | ({"x-api-key": key} if key else {})
        return httpx.request(method, self.url + path, headers=headers, timeout=TIMEOUT_S, **asked)


def deploy(client: Any, uri: str) -> str:
    """Make a REST API of the document, as API Gateway's import does; the emulator's own import knows half of it."""
    document = json.loads((REPOSITORY / "api" / "openapi.json").read_text(encoding="utf-8"))
    body = json.loads(json.dumps(gateway.rest_api(document)).replace(gateway.INTEGRATION_URI, uri))
    api: str = client.create_rest_api(name=body["info"]["title"])["id"]
    [root] = client.get_resources(restApiId=api)["items"]
    resources: dict[str, str] = {"": root["id"]}

    def resource(path: str) -> str:
        path = path.rstrip("/")
        if path not in resources:
            parent, _, part = path.rpartition("/")
            made = client.create_resource(restApiId=api, parentId=resource(parent), pathPart=part)
            resources[path] = made["id"]
        return resources[path]

    for name, schema in body["components"]["schemas"].items():
        client.create_model(restApiId=api, name=name, contentType="application/json", schema=json.dumps(schema))
    validators = {}
    for name, checks in body["x-amazon-apigateway-request-validators"].items():
        validators[name] = client.create_request_validator(restApiId=api, name=name, **checks)["id"]
    for kind, answer in body["x-amazon-apigateway-gateway-responses"].items():
        settings = answer | {"statusCode": str(answer["statusCode"])}
        client.put_gateway_response(restApiId=api, responseType=kind, **settings)
    for path, operations in body["paths"].items():
        for name, operation in operations.items():
            method = "ANY" if name == "x-amazon-apigateway-any-method" else name.upper()
            where = {"restApiId": api, "resourceId": resource(path), "httpMethod": method}
            checked = {}
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                checked = {
                    "requestModels": {"application/json": schema.rpartition("/")[2]},
                    "requestValidatorId": validators[operation["x-amazon-apigateway-request-validator"]],
                }
            client.put_method(**where, authorizationType="NONE", apiKeyRequired="security" in operation, **checked)
            integration = operation["x-amazon-apigateway-integration"]
            client.put_integration(
                **where, type="AWS_PROXY", integrationHttpMethod=integration["httpMethod"], uri=integration["uri"]
            )
    client.create_deployment(restApiId=api, stageName=STAGE)
    return api


def issue_key(client: Any, api: str, name: str, rate: float, burst: int) -> str:
    plan = client.create_usage_plan(
        name=name, throttle={"rateLimit": rate, "burstLimit": burst}, apiStages=[{"apiId": api, "stage": STAGE}]
    )
    key = client.create_api_key(name=name, enabled=True)
    client.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
    return str(client.get_api_key(apiKey=key["id"], includeValue=True)["value"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("gateway")
    port = Ports().of("emulator", 0)
    url = f"http://127.0.0.1:{port}"
    environ = emulator.environ(port, ACCOUNT_ID, REGION, folder) | {"SERVICES": SERVICES}
    programs = Programs(folder)
    command = emulator.command(REPOSITORY / ".venv-emulator")
    programs.start(Program("emulator", command, environ, partial(answers, f"{url}{emulator.HEALTH}")))
    try:
        programs.wait_ready("emulator")
        session = boto3.Session("test", "test", region_name=REGION)
        yield _deployed(url, emulator.client_environ(port, REGION), partial(session.client, endpoint_url=url))
    finally:
        programs.kill()


def _deployed(url: str, environ: dict[str, str], client: Callable[[str], Any]) -> Stage:
    s3, sns, sqs = client("s3"), client("sns"), client("sqs")
    for bucket in (OUTPUTS, CONFIG):
        s3.create_bucket(Bucket=bucket)
    runtimes = [{"name": "tiny", "type": "sdwebui", "model": "tiny.safetensors"}]
    s3.put_object(Bucket=CONFIG, Key=keys.RUNTIMES, Body=json.dumps(runtimes).encode())
    topic = sns.create_topic(Name="gateway-input")["TopicArn"]
    queue = sqs.create_queue(QueueName="gateway-tiny")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("image.py", HANDLER)
    variables = environ | {"SNS_TOPIC_ARN": topic, "S3_OUTPUT_BUCKET": OUTPUTS, "RUNTIMES_BUCKET": CONFIG}
    function = client("lambda").create_function(
        FunctionName="api",
        Runtime=f"python3.{sys.version_info.minor}",
        Role=f"arn:aws:iam::{ACCOUNT_ID}:role/api",
        Handler="image.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=TIMEOUT_S,
        Environment={"Variables": variables},
    )["FunctionArn"]
    apigateway = client("apigateway")
    uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}/invocations"
    api = deploy(apigateway, uri)

    def receive() -> list[str]:
        found = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in found]

    return Stage(
        f"{url}/restapis/{api}/{STAGE}/_user_request_",
        key=issue_key(apigateway, api, "default", 1000, 2000),
        slow_key=issue_key(apigateway, api, "slow", 0.001, 2),
        receive=receive,
    )


def test_a_job_is_accepted_and_found_again_under_the_stage(stage: Stage) -> None:
    body = {"id": "mine", "runtime": "tiny", "input": {"prompt": "a red circle"}}
    accepted = stage.ask("POST", "/v1/jobs", stage.key, json=body)
    assert (accepted.status_code, accepted.headers["location"]) == (202, f"/{STAGE}/v1/jobs/mine")
    assert [decode(message, "").id for message in stage.receive()] == ["mine"]
    found = stage.ask("GET", "/v1/jobs/mine", stage.key)
    assert (found.status_code, found.json()["status"]) == (200, "queued")
    assert found.json()["links"]["self"] == f"/{STAGE}/v1/jobs/mine"


def test_the_guidances_forms_are_answered_as_ever(stage: Stage) -> None:
    header = {"task": "text-to-image", "sd_model_checkpoint": "tiny.safetensors", "id_task": "1"}
    asked = {"/": {"alwayson_scripts": header}, "/v1alpha1": {"alwayson_scripts": header | {"id_task": "2"}}}
    for path, body in asked.items():
        assert stage.ask("POST", path, stage.key, json=body).status_code == 200
    assert sorted(decode(message, "").id for message in stage.receive()) == ["1", "2"]
    for path in ("/", "/v1alpha1", "/v1alpha2"):
        refused = stage.ask("POST", path, stage.key, json=[])
        assert (refused.status_code, refused.text) == (400, "Incorrect payload structure"), path
        other = stage.ask("PUT", path, stage.key, json={})
        assert (other.status_code, other.text) == (400, "Unsupported HTTP method"), path


@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_a_key_nothing_reaches_the_function(stage: Stage, key: str | None) -> None:
    for method, path in (("POST", "/v1/jobs"), ("POST", "/"), ("GET", "/v1/jobs/mine"), ("GET", "/v2"), ("PUT", "/")):
        refused = stage.ask(method, path, key, json={})
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json"), path
        assert refused.json()["detail"] == "Forbidden: send a valid API key in the header X-API-Key"
        assert refused.json()["message"] == "Forbidden"


def test_whoever_asks_too_often_is_told_so_and_nobody_else(stage: Stage) -> None:
    answers = [stage.ask("GET", "/v1/runtimes", stage.slow_key) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert answers[2].headers["content-type"] == "application/problem+json"
    assert answers[2].headers["retry-after"] == "1"
    assert answers[2].json()["status"] == 429
    assert stage.ask("GET", "/v1/runtimes", stage.key).status_code == 200


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"input": 7}', b"{"])
def test_what_is_no_job_at_all_is_refused_before_the_function(stage: Stage, body: bytes) -> None:
    refused = stage.ask("POST", "/v1/jobs", stage.key, content=body, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert refused.json()["detail"] == "Invalid request body: the body is not what /openapi.json says"


def test_all_else_that_is_wrong_is_told_by_the_api_at_once(stage: Stage) -> None:
    refused = stage.ask("POST", "/v1/jobs", stage.key, json={"input": {}, "id": "a/b", "colour": "red"})
    assert refused.status_code == 422
    assert {"id", "colour"} <= {error["path"].strip("/") for error in refused.json()["errors"]}
    assert stage.ask("GET", "/v2", stage.key).status_code == 404
    assert stage.ask("DELETE", "/v1/runtimes", stage.key).status_code == 405


def test_the_console_and_the_document_need_no_key(stage: Stage) -> None:
    page = stage.ask("GET", "/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert f'<base href="/{STAGE}/">' in page.text
    for name in ("console.js", "console.css", "icon.svg"):
        file = stage.ask("GET", f"/console/{name}")
        assert file.status_code == 200
        assert file.content == (REPOSITORY / "api" / "console" / name).read_bytes(), (
            "as text: API Gateway changes bytes"
        )
    assert stage.ask("GET", "/openapi.json").json()["servers"] == [{"url": f"/{STAGE}"}]
    assert stage.ask("GET", "/healthz").json() == {"status": "ok"}


def test_an_id_of_an_older_form_arrives_as_it_was_sent(stage: Stage) -> None:
    absent = stage.ask("GET", "/v1/jobs/my%20%25job", stage.key)
    assert (absent.status_code, absent.json()["detail"]) == (404, 'there is no job "my %job"')
