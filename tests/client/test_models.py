"""The client's models say what the API's document says, field by field."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import api
from client import models

DOCUMENT = json.loads(Path(api.__file__).with_name("openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
# Where the client's word is another, and what is no answer or request but an error, which client/transport.py reads.
NAMES = {"JobState": "Job", "RuntimeState": "Runtime"}
NO_MODEL = {"Task", "Problem", "JobEvent"}
# What a field is, without prose and without the bounds, which the API checks.
MEANING = ("type", "format", "items", "anyOf", "enum", "const", "properties", "required", "additionalProperties")


def meaning(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return what a schema says of values, with what it refers to in place."""
    if reference := schema.get("$ref"):
        return meaning(definitions[reference.rpartition("/")[2]], definitions)
    said: dict[str, Any] = {}
    for name in MEANING:
        value = schema.get(name)
        if name == "properties" and value:
            said[name] = {field: meaning(each, definitions) for field, each in value.items()}
        elif name == "anyOf" and value:
            said[name] = [meaning(each, definitions) for each in value]
        elif isinstance(value, dict):
            said[name] = meaning(value, definitions)
        elif name == "required" and value:
            said[name] = sorted(value)
        elif value is not None and name != "additionalProperties":
            said[name] = value
    return said


@pytest.mark.parametrize("name", sorted(SCHEMAS.keys() - NO_MODEL))
def test_each_model_has_the_fields_of_the_document(name: str) -> None:
    model: type[BaseModel] = getattr(models, NAMES.get(name, name))
    ours = model.model_json_schema()
    assert meaning(ours, ours.get("$defs", {})) == meaning(SCHEMAS[name], SCHEMAS)


@pytest.mark.parametrize("name", sorted(name for name, schema in SCHEMAS.items() if schema.get("examples")))
def test_each_example_of_the_document_is_understood(name: str) -> None:
    if name in NO_MODEL:
        return
    model: type[BaseModel] = getattr(models, NAMES.get(name, name))
    for example in SCHEMAS[name]["examples"]:
        assert model.model_validate(example).model_dump(mode="json", exclude_unset=True) == example


def test_fields_that_a_newer_api_adds_are_ignored() -> None:
    assert models.Depth.model_validate({"waiting": 1, "taken": 0, "ready": 2}) == models.Depth(waiting=1, taken=0)
