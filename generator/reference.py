"""docs/reference.md for people and clusters/config.schema.json for their editors, both from the model."""

import json
from collections.abc import Iterator
from typing import Any, get_origin

from pydantic_core import to_jsonable_python

from generator import names, tree
from generator.model import Config
from generator.section import LandsIn, Section

SOURCE = "generator/model.py, generator/values.py and generator/names.py"

INTRODUCTION = """# Reference of config.yaml

`clusters/<cluster>/config.yaml` says what a cluster runs. It has the shape that AWS's "Guidance for Asynchronous
Inference with Stable Diffusion" documents, in all three of its versions, and one section more, `cluster`. Unknown keys
are errors. A key that is set to nothing counts as not set.

"Lands in" names the object that a value ends up in. Defaults below `extraValues` are those of the chart: only what is
set travels to it.
"""

NAMES = """## Names

A name of a runtime or stack is part of other names, which may only be so long. `sdoneks` as the stack leaves {room}
characters for a runtime.

| Name of the | is | characters at most |
| --- | --- | --- |
"""

Schema = dict[str, Any]


def schema() -> Schema:
    """Return the JSON Schema (2020-12) of a config.yaml."""
    made = Config.model_json_schema(by_alias=True)
    for section, _ in places(Config, ""):
        if section.POPULATED:
            # The guidance's own values have these keys with nothing in them.
            made["$defs"][section.__name__]["properties"] |= {
                key: {"description": "Filled in by the platform: not to be set.", "enum": ["", {}, [], False, None]}
                for key in section.POPULATED
            }
    for part in [made, *made["$defs"].values()]:
        for key, value in part.get("properties", {}).items():
            value.pop("title", None)
            if "$ref" in value:
                # Files have keys above commented-out sections, which count as not set.
                part["properties"][key] = {"anyOf": [{"$ref": value.pop("$ref")}, {"type": "null"}], **value}
    return made


def schema_text() -> str:
    """Return the generated file clusters/config.schema.json."""
    comment = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        # JSON has no comments of several lines.
        "$comment": " | ".join(tree.header(SOURCE)),
    }
    return json.dumps({**comment, **schema()}, indent=2, ensure_ascii=False) + "\n"


def markdown() -> str:
    """Return the generated file docs/reference.md."""
    comment = "<!-- " + "\n     ".join(tree.header(SOURCE)) + " -->\n"
    found = dict(places(Config, ""))
    made = Config.model_json_schema(by_alias=True)
    definitions = made["$defs"] | {Config.__name__: made}
    sections = [_section(section, found, definitions) for section in found]
    return "\n".join([comment + INTRODUCTION, *sections, _names()])


def places(section: type[Section], place: str) -> Iterator[tuple[type[Section], str]]:
    """Yield every section with the first place it is in, and each before those below it."""
    found = {section: place}
    for name, field in section.model_fields.items():
        key = section.keys()[name]
        if below := section.sections().get(key):
            listed = "[]" if get_origin(field.annotation) is tuple else ""
            for deeper, where in places(below, f"{place}.{key}{listed}".lstrip(".")):
                found.setdefault(deeper, where)
    yield from found.items()


def _section(section: type[Section], found: dict[type[Section], str], definitions: Schema) -> str:
    """Return the chapter of a section: a row for each key."""
    place, below = found[section], section.sections()
    lines = [f"## {f'`{place}`' if place else 'Top level'}", "", section.__doc__ or "", ""]
    lines += ["| Key | Type | Default | Meaning | Lands in |", "| --- | --- | --- | --- | --- |"]
    properties = definitions[section.__name__]["properties"]
    for name, field in sorted(section.model_fields.items(), key=lambda item: not item[1].is_required()):
        key = section.keys()[name]
        kind = type_name(properties[key], definitions)
        if key in below:
            kind = kind.replace("mapping", f"[mapping](#{_anchor(found[below[key]])})")
        default = "required" if field.is_required() else default_text(field.get_default(call_default_factory=True))
        own = next((mark.object for mark in field.metadata if isinstance(mark, LandsIn)), section.LANDS_IN)
        lines.append(f"| `{key}` | {kind} | {default} | {field.description} | {'' if key in below else own} |")
    for key, populated in section.POPULATED.items():
        origin = f" from {populated.instead}" if populated.instead else ""
        lines.append(f"| `{key}` | | | Filled in by the platform{origin}: not to be set. | |")
    return "\n".join(lines) + "\n"


def _anchor(where: str) -> str:
    """Return what forges make of a heading: lower-case, without punctuation."""
    return "".join(character for character in where.lower() if character.isalnum() or character in "-_")


def type_name(value: Schema, definitions: Schema) -> str:
    """Return a JSON Schema in a few words."""
    if "$ref" in value:
        value = definitions[value["$ref"].rpartition("/")[2]]
    if "anyOf" in value:
        # Empty text and nothing are ways not to set something.
        choices = (choice for choice in value["anyOf"] if choice.get("type") != "null" and choice.get("const") != "")
        return " or ".join(type_name(choice, definitions) for choice in choices)
    if "const" in value or "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    kind = value["type"]
    if kind == "array":
        return f"list of {type_name(value['items'], definitions)}"
    if kind == "object":
        return "mapping" if "properties" in value else "map"
    bounds = "".join(f" {word} {value[key]}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in value)
    words = {"boolean": "true or false", "integer": "number", "number": "number", "string": "text"}
    return " or ".join(words[name] for name in ([kind] if isinstance(kind, str) else kind)) + bounds


def default_text(value: Any) -> str:
    """Return a default as it is shown; empty for what is not set, and for a section."""
    if isinstance(value, Section) or value in (None, "", (), {}):
        return ""
    return f"`{json.dumps(plain(value))}`" if not isinstance(value, str) else f"`{value}`"


def plain(value: Any) -> Any:
    """Return a default as data that JSON and YAML can write."""
    return to_jsonable_python(value, by_alias=True, exclude_none=True)


def _names() -> str:
    rows = [
        f"| {form.target} | `{form.template.format(stack='<stack>', runtime='<runtime>')}` | {form.limit} |"
        for form in (names.INFERENCE_API, *names.OF_A_RUNTIME)
    ]
    room = min(form.room("sdoneks") for form in names.OF_A_RUNTIME)
    return NAMES.format(room=room) + "\n".join(rows) + "\n"
