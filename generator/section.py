"""What the sections of config.yaml are made of: strict, frozen, and able to explain themselves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

# Where something is in a config.yaml: keys and list positions, from the top.
Location = tuple[str | int, ...]


class Problem(NamedTuple):
    """What is wrong somewhere in a config.yaml, and how to mend it; the text goes on after the location."""

    location: Location
    text: str


def path(location: Location) -> str:
    """Return a location as people write it, such as `modelsRuntime[1].extraValues`."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif "." in step or "/" in step:
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
    return text


class Section(BaseModel):
    """A mapping in config.yaml. Unknown keys are errors, and nothing changes after it was read.

    Attributes:
        LANDS_IN: The object that the keys end up in, for docs/reference.md; `LandsIn` overrides it for one key.
        POPULATED: Keys of the chart that the platform fills in, each with what to set instead, if anything.
        MISPLACED: Keys that people put here by mistake, each with where it belongs.
        OLDER_SPELLINGS: Keys that mean the same as another key of the section, with that key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    LANDS_IN: ClassVar[str] = ""
    POPULATED: ClassVar[Mapping[str, str]] = {}
    MISPLACED: ClassVar[Mapping[str, str]] = {}
    OLDER_SPELLINGS: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="after")
    def _spell_each_key_one_way(self) -> Self:
        given = {self.keys()[name] for name in self.model_fields_set} if self.OLDER_SPELLINGS else set[str]()
        twice = [
            Problem((older,), f"is the older spelling of {key}, which is set too: keep one")
            for older, key in self.OLDER_SPELLINGS.items()
            if {older, key} <= given
        ]
        if twice:
            raise refusal(*twice)
        return self

    @classmethod
    def keys(cls) -> dict[str, str]:
        """Return the keys as people write them, by the names of their attributes."""
        return {name: field.alias or name for name, field in cls.model_fields.items()}

    @classmethod
    def sections(cls) -> "dict[str, type[Section]]":
        """Return the sections directly below this one, by key."""
        return {
            field.alias or name: section
            for name, field in cls.model_fields.items()
            if (section := _section_in(field.annotation))
        }


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((section for argument in get_args(annotation) if (section := _section_in(argument))), None)


def refusal(*problems: Problem) -> ValidationError:
    """Return the error by which a validator refuses values at locations below its own."""
    details = [
        InitErrorDetails(type=PydanticCustomError("refused", "{text}", {"text": text}), loc=location, input=None)
        for location, text in problems
    ]
    return ValidationError.from_exception_data("refused", details)


@dataclass(frozen=True)
class LandsIn:
    """Marks a key that lands in another object than the rest of its section."""

    object: str


@dataclass(frozen=True)
class Matches:
    """Marks text that matches a regular expression.

    Attributes:
        pattern: In the subset that Python and JSON Schema share; it is searched, so anchor it.
        meaning: Completes "should be …".
    """

    pattern: str
    meaning: str

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        # Python's $ would let a line break at the end pass.
        if value.endswith("\n") or not re.search(self.pattern, value):
            raise PydanticCustomError("mismatch", "should be {meaning}", {"meaning": self.meaning})
        return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        # Python, and Pydantic with it, takes true for 1.
        raise PydanticCustomError("int_type", "not a number")
    return value


Number = Annotated[int, BeforeValidator(_no_truth)]

# The guidance lower-cases names, so both cases are welcome.
LowerCased = BeforeValidator(_lower)

Name = Annotated[
    str,
    LowerCased,
    Matches(
        "^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$",
        "letters, digits and hyphens, with a letter or digit at both ends (an RFC 1123 label)",
    ),
]

_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$"
Quantity = Annotated[
    str,
    BeforeValidator(_number_as_text),
    Matches(_QUANTITY, "a Kubernetes quantity such as 2, 500m or 6Gi"),
    WithJsonSchema({"type": ["string", "number"], "pattern": _QUANTITY}),
]

ResourceName = Annotated[
    str,
    Matches(
        "^(cpu|memory|ephemeral-storage|hugepages-[^/]+|[^/]+/[^/]+)$",
        "a resource of Kubernetes: cpu, memory, ephemeral-storage, nvidia.com/gpu",
    ),
]
