"""What the API server does with a claim before anything else sees it: it checks it, and fills in the defaults."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Manifest = dict[str, Any]


class InvalidClaimError(ValueError):
    """A claim that its definition refuses; the text names every problem."""


class Admission:
    """The definitions below `apps/crossplane/apis`, by kind."""

    def __init__(self, apis: Path) -> None:
        definitions = [yaml.safe_load(path.read_text()) for path in sorted(apis.glob("*/definition.yaml"))]
        self._schemas: dict[str, Manifest] = {
            definition["spec"]["names"]["kind"]: definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            for definition in definitions
        }

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that are claims."""
        return frozenset(self._schemas)

    def admit(self, claim: Manifest, before: Manifest | None = None) -> Manifest:
        """Return `claim` with the defaults of its definition.

        Args:
            claim: The claim as somebody wrote it.
            before: The same claim as it was admitted before.

        Raises:
            InvalidClaimError: The claim does not fit its definition, or changes what may not change.
        """
        # A structural schema refuses nothing that it does not know: the API server prunes it. Here it is refused, as
        # strict field validation would.
        definition = self._schemas[claim["kind"]]
        schema = _closed(definition)
        spec = {"spec": _defaulted(claim.get("spec", {}), schema["properties"]["spec"])}
        # Of metadata, definitions may limit the name and nothing else.
        name = {"metadata": {"name": claim["metadata"]["name"]}} if "metadata" in schema["properties"] else {}
        checked = jsonschema.Draft202012Validator(schema).iter_errors(name | spec)
        errors = sorted(checked, key=lambda error: error.json_path)
        problems = [f"{error.json_path[2:]}: {error.message}" for error in errors]
        if before:
            problems += _changed(definition["properties"]["spec"], before["spec"], spec["spec"], "spec")
        if problems:
            who = f"{claim['kind']} {claim['metadata'].get('namespace')}/{claim['metadata'].get('name')}"
            raise InvalidClaimError("; ".join(f"{who}: {problem}" for problem in problems))
        return claim | spec


def _changed(schema: Manifest, before: Any, after: Any, path: str) -> Iterator[str]:
    """Yield what changed although its definition says `self == oldSelf`, the one CEL rule that is understood here."""
    for validation in schema.get("x-kubernetes-validations", []):
        if validation["rule"] == "self == oldSelf" and before != after:
            yield f"{path}: {validation['message']}"
    if isinstance(before, dict) and isinstance(after, dict):
        for name, part in schema.get("properties", {}).items():
            if name in before and name in after:
                yield from _changed(part, before[name], after[name], f"{path}.{name}")


def _defaulted(value: Any, schema: Manifest) -> Any:
    if isinstance(value, dict):
        properties: Manifest = schema.get("properties", {})
        defaults = {name: part["default"] for name, part in properties.items() if "default" in part}
        return {name: _defaulted(item, properties.get(name, {})) for name, item in (defaults | value).items()}
    if isinstance(value, list):
        return [_defaulted(item, schema.get("items", {})) for item in value]
    return value


def _closed(schema: Manifest) -> Manifest:
    closed = {name: part for name, part in schema.items() if not name.startswith("x-kubernetes")}
    if "properties" in schema:
        closed["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        closed.setdefault("additionalProperties", False)
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    return closed
