"""Crossplane's part: claims become managed resources by the repository's own `compose.py`, run as a function is run."""

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from crossplane.function import resource, response
from crossplane.function.proto.v1 import run_function_pb2 as fnv1

Manifest = dict[str, Any]
Fetch = Callable[[fnv1.ResourceSelector], Iterable[Manifest]]

# Crossplane calls a function again while it asks for more resources, this often at most.
MAX_CALLS = 5


class CompositionError(Exception):
    """A composition said that it cannot go on; the text is its own."""


class Compositions:
    """The `compose.py` of each kind of claim below `apps/crossplane/apis`."""

    def __init__(self, apis: Path) -> None:
        self._modules: dict[str, ModuleType] = {}
        for path in sorted(apis.glob("*/compose.py")):
            spec = importlib.util.spec_from_file_location(f"compositions.{path.parent.name}", path)
            if spec is None or spec.loader is None:
                raise ImportError(f"cannot import {path}")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self._modules[path.parent.name] = module

    def compose(
        self, claim: Manifest, observed: dict[str, Manifest], fetch: Fetch
    ) -> tuple[dict[str, Manifest], Manifest]:
        """Return the resources that `claim` wants, by the composition's names for them, and the claim's status.

        Args:
            claim: The claim, with defaults.
            observed: Its resources as they are now.
            fetch: Finds the resources that the composition asks to see.

        Raises:
            CompositionError: The composition refuses.
        """
        module = self._modules[claim["kind"].lower()]
        request = fnv1.RunFunctionRequest()
        resource.update(request.observed.composite, claim)
        for name, manifest in observed.items():
            resource.update(request.observed.resources[name], manifest)
        for _ in range(MAX_CALLS):
            answer = response.to(request)
            module.compose(request, answer)
            wanted = dict(answer.requirements.resources)
            if set(wanted) <= set(request.required_resources):
                break
            for name, selector in wanted.items():
                items = request.required_resources[name].items
                for found in fetch(selector):
                    resource.update(items.add(), found)
        refused = [result.message for result in answer.results if result.severity == fnv1.SEVERITY_FATAL]
        if refused:
            raise CompositionError("; ".join(refused))
        # In one order whatever that of the message, which differs from process to process.
        desired = {
            name: resource.struct_to_dict(item.resource) for name, item in sorted(answer.desired.resources.items())
        }
        status: Manifest = resource.struct_to_dict(answer.desired.composite.resource).get("status", {})
        return desired, status
