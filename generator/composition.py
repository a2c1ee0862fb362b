"""composition.yaml of our own APIs: the Python of compose.py, and of what it imports, where function-python runs it."""

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from generator import gateway, tree

Manifest = dict[str, Any]

# What starts the names of modules that are joined; others are installed where function-python runs.
PACKAGE = "apps.crossplane."
# The module that is generated, with the document of API Gateway.
OPENAPI = "apps.crossplane.apis.inferenceapi.openapi"


@dataclass(frozen=True)
class Api:
    """One of our own Kubernetes APIs, as its folder in apps/crossplane/apis has it.

    Attributes:
        folder: Path of the folder, relative to the repository's root.
        definition: The CompositeResourceDefinition in definition.yaml.
    """

    folder: str
    definition: Manifest

    @property
    def module(self) -> str:
        """Name of the module with its function `compose`."""
        return f"{self.folder.replace('/', '.')}.compose"


def composition(api: Api, script: str) -> Manifest:
    """Return the Composition that runs the API's script, and then says when all it made is ready."""
    spec = api.definition["spec"]
    version = next(version["name"] for version in spec["versions"] if version["referenceable"])
    step = {"apiVersion": "python.fn.crossplane.io/v1beta1", "kind": "Script", "script": script}
    return {
        "apiVersion": "apiextensions.crossplane.io/v1",
        "kind": "Composition",
        "metadata": {"name": api.definition["metadata"]["name"]},
        "spec": {
            "compositeTypeRef": {"apiVersion": f"{spec['group']}/{version}", "kind": spec["names"]["kind"]},
            "mode": "Pipeline",
            "pipeline": [
                {
                    "step": "compose",
                    "functionRef": {"name": "crossplane-contrib-function-python"},
                    "input": step,
                },
                {"step": "ready", "functionRef": {"name": "crossplane-contrib-function-auto-ready"}},
            ],
        },
    }


def joined(module: str, source: Callable[[str], str]) -> str:
    """Return one script of a module and of ours that it imports, each in the place of its first import.

    Args:
        module: Name of the module.
        source: Returns the text of the module of a name.

    Raises:
        ValueError: Two modules define one name, or import in another way than `from <module> import <name>`.
    """
    homes: dict[str, str] = {}
    done: set[str] = set()

    def text_of(name: str) -> str:
        done.add(name)
        lines = source(name).splitlines(keepends=True)
        parts, at = [], 0
        for node in ast.parse("".join(lines)).body:
            for defined in _defined(node):
                if homes.setdefault(defined, name) != name:
                    raise ValueError(f"{homes[defined]} and {name} both define {defined}: name one of them otherwise")
            imported = _imported(node, name)
            if imported and node.end_lineno:
                parts += lines[at : node.lineno - 1]
                parts += [] if imported in done else [f"# {imported}\n", text_of(imported)]
                at = node.end_lineno
        return "".join([*parts, *lines[at:]])

    return text_of(module)


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _imported(node: ast.stmt, name: str) -> str | None:
    """Return the module of ours that a statement of the module `name` imports from."""
    if isinstance(node, ast.Import) and any(alias.name.startswith(PACKAGE) for alias in node.names):
        raise ValueError(f"{name}, line {node.lineno}: write `from <module> import <name>`")
    if not (isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(PACKAGE)):
        return None
    if any(alias.asname for alias in node.names):
        raise ValueError(f"{name}, line {node.lineno}: a name that is imported keeps its name")
    return node.module


def openapi_module(document: Manifest) -> str:
    """Return the module that has the document of API Gateway.

    Args:
        document: The job API's OpenAPI document.
    """
    comment = "".join(f"# {line}\n" for line in tree.header("api/openapi.json"))
    text = json.dumps(gateway.rest_api(document), indent=1, sort_keys=True)
    return f'{comment}# ruff: noqa: E501\n\nOPENAPI = r"""\n{text}\n"""\n'
