"""One document describes the API: it is what is served, what is in git, and true."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from api import examples, openapi, reference
from api.app import create_app
from tests.api.conftest import Platform

DOCUMENT: dict[str, Any] = json.loads(openapi.FILE.read_text(encoding="utf-8"))
OPERATIONS = {operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()}


def valid(schema: dict[str, Any], value: Any) -> None:
    jsonschema.Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(value)


def test_what_is_served_is_what_is_in_git(platform: Platform) -> None:
    served = platform.api.get("/openapi.json").json()
    assert served.pop("servers") == [{"url": "/"}]
    assert served == DOCUMENT, "run `make render`"
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.text(create_app(platform.settings, platform.aws))


def test_a_document_that_has_changed_is_told_with_its_difference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "openapi.json"
    monkeypatch.setattr(openapi, "FILE", file)
    monkeypatch.setattr("sys.argv", ["openapi", "--check"])
    assert openapi.main() == 1
    assert "run `make render`" in capsys.readouterr().err
    assert not file.exists()
    monkeypatch.setattr("sys.argv", ["openapi"])
    assert openapi.main() == 0
    monkeypatch.setattr("sys.argv", ["openapi", "--check"])
    assert openapi.main() == 0


def test_every_schema_that_is_referred_to_is_there() -> None:
    text = json.dumps(DOCUMENT)
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named <= DOCUMENT["components"]["schemas"].keys()


def test_what_webhooks_are_told_is_described_too() -> None:
    told = DOCUMENT["webhooks"]["job-ended"]["post"]
    assert told["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/JobEvent"}
    assert told["responses"].keys() == {"2XX", "410"}


def test_every_operation_has_a_name_of_its_own_and_says_what_it_is_for() -> None:
    assert len(OPERATIONS) == sum(len(path) for path in DOCUMENT["paths"].values())
    assert all(operation.get("description") or operation.get("summary") for operation in OPERATIONS.values())
    assert all(len(operation["tags"]) == 1 for operation in OPERATIONS.values())


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_operation_says_how_it_may_be_refused(operation: dict[str, Any]) -> None:
    if operation["security"] == []:
        assert operation["tags"] == ["service"]
        return
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in ("403", "429", "500"):
        assert operation["responses"][status]["content"] == problem
    if "requestBody" in operation:
        assert {"400", "408", "413", "503"} <= operation["responses"].keys()


@pytest.mark.parametrize("name", examples.BY_SCHEMA)
def test_every_example_is_an_example_of_its_schema(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert schema["examples"] == [examples.BY_SCHEMA[name]]
    valid({key: value for key, value in schema.items() if key != "examples"}, examples.BY_SCHEMA[name])


@pytest.mark.parametrize("name", ["Submission", *examples.BY_OPERATION])
def test_every_example_of_a_job_is_accepted(platform: Platform, name: str) -> None:
    if name == "Submission":
        answer = platform.api.post("/v1/jobs", json=examples.BY_SCHEMA[name])
        valid(DOCUMENT["components"]["schemas"]["Accepted"], answer.json())
    else:
        path = next(path for path, each in DOCUMENT["paths"].items() if each.get("post") is OPERATIONS[name])
        answer = platform.api.post(path, json=examples.BY_OPERATION[name])
    assert answer.is_success, answer.text
    assert list(platform.delivered()) == ["tiny"]


class Page(HTMLParser):
    """What is on a page: ids, links, and whether all that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        assert tag != "script"
        assert not {"style", "onclick"} & given.keys()
        self.ids |= {given["id"] or ""} if "id" in given else set()
        self.links |= {given["href"] or ""} if "href" in given else set()
        if tag not in {"base", "link", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_document_is_a_page_for_people_too_with_nothing_from_elsewhere_and_no_script(platform: Platform) -> None:
    answer = platform.api.get("/docs")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    page = Page(answer.text)
    assert page.open == []
    webhooks = {each["post"]["operationId"] for each in DOCUMENT["webhooks"].values()}
    assert OPERATIONS.keys() | webhooks <= page.ids
    assert {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]} <= page.ids
    for link in page.links - {"/"}:
        path, _, fragment = link.partition("#")
        assert platform.api.get(f"/{path}").status_code == 200, link
        assert not fragment or fragment in page.ids


def test_what_stands_in_the_document_is_text_on_the_page(platform: Platform) -> None:
    hostile = json.loads(json.dumps(DOCUMENT).replace("Tell whether the process is alive", "<script>alert(1)</script>"))
    text = reference.page(hostile, '/"><script>/')
    assert "<script>" not in text
    Page(text)
