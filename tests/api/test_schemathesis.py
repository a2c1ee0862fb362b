"""Nothing that the OpenAPI document allows, or forbids, breaks the API, or is answered as the document does not say."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api import openapi
from api.app import create_app
from tests.api.conftest import Platform

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    (path, method)
    for path, operations in json.loads(openapi.FILE.read_text(encoding="utf-8"))["paths"].items()
    for method in operations
]


def ask_all_kinds_of_things(platform: Platform, path: str, method: str, examples: int) -> None:
    described = schemathesis.openapi.from_asgi("/openapi.json", create_app(platform.settings, platform.aws))
    operation = described[path][method.upper()]
    allowed, forbidden = (operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(allowed | forbidden)
    def ask(case: Any) -> None:
        case.validate_response(case.call(), checks=CHECKS)

    ask()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_one_that_the_document_describes(platform: Platform, path: str, method: str) -> None:
    ask_all_kinds_of_things(platform, path, method, examples=12)


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_of_many_is_one_that_the_document_describes(platform: Platform, path: str, method: str) -> None:
    ask_all_kinds_of_things(platform, path, method, examples=500)
