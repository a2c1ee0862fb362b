"""composition.yaml of our own APIs: the Python of compose.py, put where function-python runs it."""

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Api:
    """One of our own Kubernetes APIs, as its folder in apps/crossplane/apis has it.

    Attributes:
        folder: Path of the folder, relative to the repository's root.
        definition: The CompositeResourceDefinition in definition.yaml.
        script: The source of compose.py.
    """

    folder: str
    definition: Manifest
    script: str


def composition(api: Api) -> Manifest:
    """Return the Composition that runs the API's script, and then says when all it made is ready."""
    spec = api.definition["spec"]
    version = next(version["name"] for version in spec["versions"] if version["referenceable"])
    script = {"apiVersion": "python.fn.crossplane.io/v1beta1", "kind": "Script", "script": api.script}
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
                    "input": script,
                },
                {"step": "ready", "functionRef": {"name": "crossplane-contrib-function-auto-ready"}},
            ],
        },
    }
