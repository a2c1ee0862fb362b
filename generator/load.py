"""From the text of a config.yaml to a Config, or to everything that is wrong with it."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from generator import checks
from generator.document import Document, DocumentError
from generator.model import Config
from generator.section import Location, Problem, Section, path

MISSING_CLUSTER = """is missing: the guidance's files do not have it. Add this, with your own values:

cluster:
  accountId: "123456789012"
  region: us-west-2
  repository:
    url: https://github.com/you/your-fork.git
"""

# What a value should be, by Pydantic's name of the error and in words for people who do not know Pydantic.
RULES = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping of keys to values",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "mismatch": "{meaning}",
    "model_type": "a mapping of keys to values",
    "string_too_long": "{max_length} characters long or shorter",
    "string_too_short": "{min_length} characters long or longer",
    "string_type": "text",
    "too_short": "a list of {min_length} or more",
    "tuple_type": "a list",
}


class ConfigError(Exception):
    """A config.yaml that cannot be used; `messages` are one for each thing to mend, in the order of the file."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


@dataclass(frozen=True)
class Loaded:
    """A valid config.yaml, and what its author should know."""

    config: Config
    warnings: list[str]


def load(text: str, file: str) -> Loaded:
    """Read the text of a config.yaml.

    Args:
        file: What messages call it.

    Raises:
        ConfigError: Something is wrong with it.
    """
    try:
        document = Document(text)
    except DocumentError as error:
        raise ConfigError([f"{file}:{line}: {problem}" for line, problem in error.problems]) from error
    try:
        config = Config.model_validate(document.data)
        found = list[Problem]()
    except ValidationError as error:
        config = Config.of_what_is_valid(document.data)
        found = [_explain(details) for details in error.errors()]
    found += checks.problems(config)
    if found:
        raise ConfigError(list(_messages(found, document, file)))
    return Loaded(config, list(_messages(list(checks.warnings(document.data, config)), document, file)))


def _messages(found: list[Problem], document: Document, file: str) -> Iterator[str]:
    numbered = [(document.line(location), path(location), text) for location, text in found]
    for line, where, text in sorted(numbered, key=lambda entry: entry[0]):
        yield f"{file}:{line}: {where}: {text}"


def _explain(details: ErrorDetails) -> Problem:
    """Return where an error is, what is wrong there, and how to mend it."""
    # A mapping's invalid key is reported below itself.
    location = tuple(step for step in details["loc"] if step != "[key]")
    section, key, value = _section_at(location[:-1]), str(location[-1]), details["input"]
    match details["type"]:
        case "missing":
            text = MISSING_CLUSTER if location == ("cluster",) else f"is missing. {_description(key, section)}"
        case "extra_forbidden":
            text = _unknown_key(key, section)
        case "invalid_key":
            text = "is a key, and keys should be text: put it in quotes"
        case "string_type" if isinstance(value, bool | int | float):
            text = f"should be text, and YAML reads it as {_shown(value)}: put it in quotes"
        case kind if kind in RULES:
            text = f"should be {RULES[kind].format(**details.get('ctx', {}))}, not {_shown(value)}"
        case _:
            text = details["msg"]
    return Problem(location, text)


def _description(key: str, section: type[Section] | None) -> str:
    fields = section.model_fields.values() if section else ()
    return next((field.description or "" for field in fields if field.alias == key), "")


def _unknown_key(key: str, section: type[Section] | None) -> str:
    if section is None:
        return "is not a known key: remove it"
    if key in section.POPULATED:
        instead = section.POPULATED[key].instead
        return "is filled in by the platform: remove it" + (f", and set {instead}" if instead else "")
    if key in section.MISPLACED:
        return f"is one level too high, where it would be ignored: it belongs in {section.MISPLACED[key]}"
    known = list(section.keys().values())
    # Without regard to case, which is what people get wrong most.
    near = difflib.get_close_matches(key.lower(), [name.lower() for name in known], n=1)
    if near:
        name = next(name for name in known if name.lower() == near[0])
        return f"is not a known key: did you mean {name}?"
    return f"is not a known key: remove it, or use one of {', '.join(sorted(known))}"


def _section_at(location: Location) -> type[Section] | None:
    section: type[Section] | None = Config
    for step in location:
        if section and isinstance(step, str):
            section = section.sections().get(step)
    return section


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list():
            return "a list" if value else "an empty list"
        case _:
            return repr(value)
