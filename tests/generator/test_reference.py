import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from generator import reference
from generator.document import Document
from generator.model import Config
from generator.section import Section
from tests.generator.cases import CLUSTERS, EXAMPLES, FIXTURES, VALID


def sections(section: type[Section] = Config) -> set[type[Section]]:
    below = (sections(found) for found in section.sections().values())
    return {section}.union(*below)


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = reference.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", [*VALID, *EXAMPLES, *CLUSTERS], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_an_editor_accepts_what_the_generator_accepts(file: Path, validator: Any) -> None:
    assert [error.message for error in validator.iter_errors(Document(file.read_text()).data)] == []


@pytest.mark.parametrize(
    ("case", "keys"),
    [
        ("unknown-keys", {"modelsRuntimes", "queueLenght", "modelmountpath", "colour"}),
        ("values-of-the-platform", {"global", "iamRole", "serviceAccountName", "s3Bucket", "modelBucket"}),
        ("agent-one-level-too-high", {"queueAgent"}),
        ("cluster-missing", {"cluster"}),
    ],
)
def test_an_editor_refuses_unknown_and_missing_keys(case: str, keys: set[str], validator: Any) -> None:
    data = Document((FIXTURES / "invalid" / f"{case}.yaml").read_text()).data
    found = {key for message in messages(validator.iter_errors(data)) for key in re.findall("'([^']+)'", message)}
    assert keys <= found


def messages(errors: Any) -> Iterator[str]:
    """Yield the messages of errors; those about a section that may be left out are below the choice that it is."""
    for error in errors:
        if error.validator in ("additionalProperties", "required"):
            yield error.message
        if error.validator == "enum":
            yield f"'{error.path[-1]}' is {error.message}"
        yield from messages(error.context or ())


def test_an_editor_accepts_a_section_whose_keys_are_all_commented_out(validator: Any) -> None:
    data = Document(VALID[0].read_text()).data
    assert list(validator.iter_errors({**data, "APIGW": None, "dynamicModelRuntime": None})) == []


def test_every_key_is_described() -> None:
    undescribed = [
        f"{section.__name__}.{name}"
        for section in sections()
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert undescribed == []


def test_every_key_is_in_the_reference() -> None:
    text = reference.markdown()
    chapters = text.split("\n## ")
    assert len(chapters) == len(sections()) + 2  # the introduction and the names
    for section in sections():
        [chapter] = [part for part in chapters if part.split("\n")[2:3] == [section.__doc__]]
        keys = re.findall("^[|] `([^`]+)`", chapter, flags=re.MULTILINE)
        assert set(keys) == {*section.keys().values(), *section.POPULATED}


def test_links_of_the_reference_lead_to_its_chapters() -> None:
    text = reference.markdown()
    headings = re.findall("^## `?([^`\n]+)`?$", text, flags=re.MULTILINE)
    anchors = {re.sub("[^a-z0-9_-]", "", heading.lower()) for heading in headings}
    links = set(re.findall(r"\(#([^)]*)\)", text))
    assert links
    assert links <= anchors
