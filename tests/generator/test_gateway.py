"""API Gateway gets of the API's document what it acts on, and nothing that it refuses."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from generator import gateway
from tests.conftest import REPOSITORY

DOCUMENT: dict[str, Any] = json.loads((REPOSITORY / "api" / "openapi.json").read_text(encoding="utf-8"))
REST_API = gateway.rest_api(DOCUMENT)
# Of what API Gateway's models and parameters do not support, or ignore.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html#api-gateway-known-issues-rest-apis
UNSUPPORTED = {
    "additionalProperties",
    "anyOf",
    "const",
    "deprecated",
    "discriminator",
    "example",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "nullable",
    "oneOf",
    "readOnly",
}
METHODS = {"get", "put", "post", "delete", "head", "patch", "options", "x-amazon-apigateway-any-method"}


def methods() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in REST_API["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from keys(each)


def test_nothing_is_in_it_that_api_gateway_refuses_or_ignores() -> None:
    assert REST_API["openapi"].startswith("3.0.")
    models = REST_API["components"]["schemas"]
    assert not UNSUPPORTED & set(keys([REST_API["paths"], models]))
    assert all(name.isalnum() for name in models)
    for path, method, operation in methods():
        assert method in METHODS
        for segment in path.strip("/").split("/"):
            assert re.fullmatch(r"[A-Za-z0-9_.,:-]*|\{[A-Za-z0-9._-]+\+?\}", segment)
        named = {name.rstrip("+") for name in re.findall(r"\{(.+?)\}", path)}
        assert {each["name"] for each in operation.get("parameters", [])} == named
        assert all(status.isdigit() for status in operation["responses"])
        if "requestBody" in operation:
            [content] = operation["requestBody"]["content"].values()
            assert content["schema"]["$ref"].removeprefix("#/components/schemas/") in models


def test_it_is_far_smaller_than_what_api_gateway_and_kubernetes_take() -> None:
    """6 MB, 300 resources: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html; etcd 1.5 MiB."""
    assert len(json.dumps(REST_API)) < 100_000
    segments = {tuple(path.split("/")[:end]) for path in REST_API["paths"] for end in range(1, 9)}
    assert len(segments) < 150


def test_everything_asks_for_a_key_but_the_service_itself_and_a_browsers_question() -> None:
    without = {(path, method) for path, method, operation in methods() if "security" not in operation}
    asked = {path for path, method in without if method != "options"}
    assert asked == {"/", "/docs", "/healthz", "/openapi.json", "/console/{proxy+}"} | {
        path
        for path, operations in DOCUMENT["paths"].items()
        if any(it["security"] == [] for it in operations.values())
    }
    assert ("/", "post") not in without
    assert not [path for path, method in without if method == "x-amazon-apigateway-any-method"]
    [scheme] = REST_API["components"]["securitySchemes"].values()
    assert scheme == {"type": "apiKey", "name": "x-api-key", "in": "header"}


def test_every_operation_of_the_document_is_there_and_the_api_answers_the_rest() -> None:
    for path, operations in DOCUMENT["paths"].items():
        assert operations.keys() <= REST_API["paths"][path].keys()
        assert {"options", "x-amazon-apigateway-any-method"} <= REST_API["paths"][path].keys()
    assert "x-amazon-apigateway-any-method" in REST_API["paths"]["/{proxy+}"]


def test_every_method_leads_to_the_one_function() -> None:
    integrations = [operation["x-amazon-apigateway-integration"] for _, _, operation in methods()]
    assert all(each == integrations[0] for each in integrations)
    assert integrations[0]["uri"] == gateway.INTEGRATION_URI
    assert (integrations[0]["type"], integrations[0]["httpMethod"]) == ("aws_proxy", "POST")
    assert json.dumps(REST_API).count(gateway.INTEGRATION_URI) == len(integrations)


def test_bodies_of_the_guidances_forms_are_not_checked_so_that_clients_get_the_answers_they_know() -> None:
    checked = {path for path, _, operation in methods() if "x-amazon-apigateway-request-validator" in operation}
    assert "/v1/jobs" in checked
    assert not checked & {"/", "/v1alpha1", "/v1alpha2"}


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        ({"input": {}}, True),
        ({"input": {"prompt": "x"}, "id": "a/b", "colour": 7}, True),  # told by the API, all at once
        ({}, False),
        ({"input": 7}, False),
        ([], False),
        (None, False),
    ],
)
def test_only_what_is_no_job_at_all_is_stopped_before_the_api(body: Any, passes: bool) -> None:
    model = REST_API["components"]["schemas"]["Submission"]
    assert jsonschema.Draft4Validator(model).is_valid(body) is passes


@pytest.mark.parametrize("kind", REST_API["x-amazon-apigateway-gateway-responses"])
def test_what_api_gateway_says_itself_are_problem_details_with_its_own_word_for_old_clients(kind: str) -> None:
    answer = REST_API["x-amazon-apigateway-gateway-responses"][kind]
    said = answer["responseTemplates"]["application/json"].replace("$context.error.messageString", '"Forbidden"')
    problem = json.loads(said.replace("$context.error.message", "Forbidden"))
    jsonschema.validate(problem, DOCUMENT["components"]["schemas"]["Problem"])
    assert (problem["status"], problem["message"]) == (answer["statusCode"], "Forbidden")
    assert answer["responseParameters"]["gatewayresponse.header.Content-Type"] == "'application/problem+json'"


def test_who_is_throttled_is_told_when_to_come_back() -> None:
    answer = REST_API["x-amazon-apigateway-gateway-responses"]["THROTTLED"]
    assert answer["responseParameters"]["gatewayresponse.header.Retry-After"] == "'1'"
