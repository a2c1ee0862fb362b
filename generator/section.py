"""What the sections of config.yaml are made of: strict, frozen, and able to explain themselves."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

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


@dataclass(frozen=True)
class Populated:
    """A key of the chart that the platform fills in.

    Attributes:
        description: Completes the chart's documentation.
        default: What the chart has by itself.
        instead: What people set in its place, if anything.
        choices: What it may be; anything of the default's type where there are none.
    """

    description: str
    default: Any = ""
    instead: str = ""
    choices: tuple[str, ...] = ()


class Section(BaseModel):
    """A mapping in config.yaml. Unknown keys are errors, and nothing changes after it was read.

    Pydantic judges each key by itself. What does not go together is found by `problems`, of a section as well that has
    wrong keys: a validator would not run then, and people would be told of one mistake after the other.

    Attributes:
        LANDS_IN: The object that the keys end up in, for docs/reference.md; `LandsIn` overrides it for one key.
        POPULATED: Keys of the chart that the platform fills in. Files may have them with nothing in them, as the
            guidance's own values do.
        MISPLACED: Keys that people put here by mistake, each with where it belongs.
        OLDER_SPELLINGS: Keys that mean the same as another key of the section, with that key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    LANDS_IN: ClassVar[str] = ""
    POPULATED: ClassVar[Mapping[str, Populated]] = {}
    MISPLACED: ClassVar[Mapping[str, str]] = {}
    OLDER_SPELLINGS: ClassVar[Mapping[str, str]] = {}

    _wrong: frozenset[str] = PrivateAttr(frozenset())

    @model_validator(mode="before")
    @classmethod
    def _leave_empty_keys_of_the_platform_out(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value or key not in cls.POPULATED}

    @classmethod
    def of_what_is_valid(cls, data: object) -> Self:
        """Return the section with whatever is valid of `data`; what is not counts as not set, and is not `known`."""
        given = data if isinstance(data, dict) else {}
        valid, wrong = dict[str, Any](), set[str]()
        for name, key in cls.keys().items():
            if key in given:
                try:
                    valid[key] = _what_is_valid(cls, name, given[key])
                except ValidationError:
                    wrong.add(name)
            elif cls.model_fields[name].is_required():
                wrong.add(name)
        section = cast("Self", cls.model_construct(**valid))
        section._wrong = frozenset(wrong)
        return section

    def known(self, *names: str) -> bool:
        """Return whether attributes are what the file says, and not wrong or missing there."""
        return self._wrong.isdisjoint(names)

    def problems(self) -> Iterator[Problem]:
        """Yield what does not go together in this section, at locations from here. Only known attributes count."""
        yield from ()

    def all_problems(self) -> Iterator[Problem]:
        """Yield what does not go together in this section or in one below it, at locations from here."""
        given = {name: key for name, key in self.keys().items() if name in self.model_fields_set}
        for older, key in self.OLDER_SPELLINGS.items():
            if {older, key} <= set(given.values()):
                yield Problem((older,), f"is the older spelling of {key}, which is set too: keep one")
        yield from self.problems()
        for name, key in given.items():
            value = getattr(self, name)
            below = enumerate(value) if isinstance(value, tuple) else [(None, value)]
            for index, section in below:
                if isinstance(section, Section):
                    steps = (key,) if index is None else (key, index)
                    yield from (Problem((*steps, *location), text) for location, text in section.all_problems())

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


def _what_is_valid(section: type[Section], name: str, value: object) -> Any:
    annotation = section.model_fields[name].annotation
    below = _section_in(annotation)
    if below and isinstance(annotation, type):
        return below.of_what_is_valid(value)
    if below and get_origin(annotation) is tuple and isinstance(value, list):
        return tuple(below.of_what_is_valid(item) for item in value)
    return _validator(section, name).validate_python(value)


@cache
def _validator(section: type[Section], name: str) -> TypeAdapter[Any]:
    """Return what judges one key of a section by itself."""
    field = section.model_fields[name]
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(kind)


@dataclass(frozen=True)
class LandsIn:
    """Marks a key that lands in another object than the rest of its section."""

    object: str


@dataclass(frozen=True)
class Older:
    """Marks a key that is still read, and that the chart does not have."""


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


def _empty_map(value: object) -> object:
    return {} if value == "" else value


def nothing_as_empty(value: object) -> object:
    """Return the value, and empty text for nothing."""
    return "" if value is None else value


Number = Annotated[int, BeforeValidator(_no_truth)]

# The guidance's documents have empty text as the default of some.
TextMap = Annotated[dict[str, str], BeforeValidator(_empty_map, json_schema_input_type=dict[str, str] | Literal[""])]

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
