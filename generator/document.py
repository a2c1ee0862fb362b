"""YAML as people write it: read as YAML 1.2, as the guidance reads it, and every value's line known."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from generator.section import Location

try:
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # PyYAML without libyaml: the same, slower
    from yaml import SafeLoader as _BaseLoader  # type: ignore[assignment]


class DocumentError(Exception):
    """Text that is not one YAML mapping; `problems` are pairs of a line (from 1) and what is wrong there."""

    def __init__(self, *problems: tuple[int, str]) -> None:
        super().__init__("; ".join(text for _, text in problems))
        self.problems = problems


class _Loader(_BaseLoader):
    """Reads YAML 1.2's core schema: `on` and `no` are text, dates and 1:30 too, and 010 is ten."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (overrides PyYAML's)

    def construct_yaml_int(self, node: Any) -> int:
        text = str(self.construct_scalar(node))
        return int(text, 0 if text[:2] in ("0x", "0o") else 10)


# https://yaml.org/spec/1.2.2/#1032-tag-resolution, and the merge key `<<`, which people use.
for _tag, _pattern, _first in (
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class Document:
    """One YAML mapping.

    Attributes:
        data: The mapping. A key that is set to nothing is left out: files keep such keys above commented-out ones.
    """

    def __init__(self, text: str) -> None:
        """Read `text`.

        Raises:
            DocumentError: It is not YAML, not a mapping, or has a key twice.
        """
        loader = _Loader(text)
        try:
            self._root = loader.get_single_node()
            if not isinstance(self._root, yaml.MappingNode):
                found = (
                    "empty" if self._root is None else "a list" if isinstance(self._root, yaml.SequenceNode) else "text"
                )
                raise DocumentError((1, f"is {found}, and should be a mapping of keys to values"))
            if twice := list(_repeated_keys(self._root)):
                raise DocumentError(*twice)
            self.data: dict[str, Any] = _without_nothing(loader.construct_document(self._root))
        except yaml.MarkedYAMLError as error:
            mark, words = error.problem_mark or error.context_mark, filter(None, (error.context, error.problem))
            raise DocumentError((mark.line + 1 if mark else 1, f"is not YAML: {', '.join(words)}")) from error
        except (yaml.YAMLError, RecursionError) as error:
            raise DocumentError((1, f"is not YAML: {error}")) from error
        finally:
            loader.dispose()

    def line(self, location: Location) -> int:
        """Return the line, from 1, of the value at `location`, or of what is there on the way to it."""
        node, line = self._root, 1
        for step in location:
            if isinstance(node, yaml.MappingNode):
                found = next((pair for pair in node.value if pair[0].value == str(step)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                found = (node.value[step],) * 2
            else:
                found = None
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line


def _repeated_keys(node: yaml.Node, seen: set[int] | None = None) -> Iterator[tuple[int, str]]:
    seen = set() if seen is None else seen
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return  # An anchor's node is reached again by every alias.
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    yield line, f"has the key {key.value} a second time, after line {lines[key.value]}: keep one"
                lines.setdefault(key.value, line)
            yield from _repeated_keys(value, seen)
    else:
        for item in node.value:
            yield from _repeated_keys(item, seen)


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nothing(item) for key, item in value.items() if item is not None}
    return [_without_nothing(item) for item in value] if isinstance(value, list) else value
