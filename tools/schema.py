"""JSON schemas of Kubernetes' kinds and of custom resources, as strict as an API server that prunes nothing.

Made from the custom resource definitions and the API description in the modules of `tools/schemas/go.mod`, and kept for
the next time. The layout of the folder is the one that `TEMPLATE` tells kubeconform.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tools.install import cache as cache_folder
from tools.install import locked
from tools.modules import SCHEMAS, download

Schema = dict[str, Any]

TEMPLATE = "{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
KUBERNETES = "k8s.io/kubernetes"
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# Where the definitions of a group's kinds are: the end of the group's name, the module, and files in it.
DEFINITIONS = (
    ("argoproj.io", "github.com/argoproj/argo-cd/v3", "manifests/crds/*-crd.yaml"),
    ("crossplane.io", "github.com/crossplane/crossplane/v2", "cluster/crds/{group}_*.yaml"),
    ("karpenter.k8s.aws", "github.com/aws/karpenter-provider-aws", "pkg/apis/crds/{group}_*.yaml"),
    ("karpenter.sh", "github.com/aws/karpenter-provider-aws", "pkg/apis/crds/{group}_*.yaml"),
    ("keda.sh", "github.com/kedacore/keda/v2", "config/crd/bases/{group}_*.yaml"),
    (
        "monitoring.coreos.com",
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd/{group}_*.yaml",
    ),
    ("upbound.io", "github.com/upbound/provider-aws/v2", "package/crds/{group}_*.yaml"),
)
# What the API description calls a string, but may be written as a number, too.
TEXT_OR_NUMBER = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
}


class UnknownKindError(LookupError):
    """No schema says what such a manifest may contain."""


def file_name(api_version: str, kind: str) -> str:
    """Return where the schema of a kind is in a folder of schemas.

    >>> file_name("apps/v1", "Deployment"), file_name("v1", "Pod")
    ('apps/deployment_v1.json', 'v1/pod_v1.json')
    """
    parts = api_version.split("/")
    return f"{parts[0]}/{kind.lower()}_{parts[-1]}.json"


def folder(kinds: set[tuple[str, str]]) -> Path:
    """Return a folder that has the schemas of `kinds`, each an apiVersion and a kind.

    Raises:
        UnknownKindError: One of them is in none of the modules.
        GoError: A module cannot be downloaded.
    """
    source = (SCHEMAS / "go.sum").read_bytes() + Path(__file__).read_bytes()
    found = cache_folder() / "schemas" / hashlib.sha256(source).hexdigest()[:16]
    if not all((found / file_name(*kind)).exists() for kind in kinds):
        with locked(found):
            for kind in kinds:
                path = found / file_name(*kind)
                path.parent.mkdir(exist_ok=True)
                unfinished = path.with_suffix(".part")
                unfinished.write_text(json.dumps(schema(*kind)))
                unfinished.rename(path)
    return found


def schema(api_version: str, kind: str) -> Schema:
    """Return the schema of a kind of Kubernetes or of one of the modules.

    Raises:
        UnknownKindError: There is none.
    """
    group, _, version = api_version.rpartition("/")
    if "." not in group or group.endswith(".k8s.io"):
        return _built_in(group, version, kind)
    return of_definition(yaml.load(definition_file(group, kind).read_bytes(), yaml.CSafeLoader), version)


def of_definition(definition: Schema, version: str) -> Schema:
    """Return the schema of a version of a CustomResourceDefinition, or of a CompositeResourceDefinition."""
    name = definition["spec"]["names"]["kind"]
    found = next((item for item in definition["spec"]["versions"] if item["name"] == version), None)
    if found is None:
        raise UnknownKindError(f"{name} has no version {version}")
    described = found["schema"]["openAPIV3Schema"]
    closed = _closed(described)
    identity = {
        "apiVersion": {"type": "string"},
        "kind": {"const": name},
        # What a definition says of metadata only narrows Kubernetes' own.
        "metadata": {"allOf": [{"$ref": f"#/definitions/{METADATA}"}, described["properties"].get("metadata", {})]},
    }
    return closed | {
        "additionalProperties": False,
        "properties": closed["properties"] | identity,
        "required": sorted({"apiVersion", "kind", "metadata", *closed.get("required", [])}),
        "definitions": _with_all_it_names(METADATA),
    }


def definition_file(group: str, kind: str) -> Path:
    """Return the file of the CustomResourceDefinition of a kind.

    Raises:
        UnknownKindError: No module defines it.
    """
    for ending, module, pattern in DEFINITIONS:
        if group == ending or group.endswith(f".{ending}"):
            for path in sorted(download(module).glob(pattern.format(group=group))):
                text = path.read_text()
                if f"\n  group: {group}\n" in text and f"\n    kind: {kind}\n" in text:
                    return path
    raise UnknownKindError(f"no module of tools/schemas/go.mod defines {kind} of {group}")


def _built_in(group: str, version: str, kind: str) -> Schema:
    wanted = {"group": group, "version": version, "kind": kind}
    for name, definition in _api_description().items():
        if wanted in definition.get("x-kubernetes-group-version-kind", []):
            closed = _closed(definition)
            required = sorted({"apiVersion", "kind", *closed.get("required", [])})
            return closed | {"required": required, "definitions": _with_all_it_names(name)}
    raise UnknownKindError(f"Kubernetes has no {kind} of {group or 'its core group'} {version}")


@cache
def _api_description() -> dict[str, Schema]:
    text = (download(KUBERNETES) / "api" / "openapi-spec" / "swagger.json").read_bytes()
    definitions: dict[str, Schema] = json.loads(text)["definitions"]
    return definitions | TEXT_OR_NUMBER


def _with_all_it_names(name: str) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    names = [name]
    while names:
        if (name := names.pop()) not in found:
            found[name] = _closed(_api_description()[name])
            names += _references(found[name])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(target := value.get("$ref"), str):
            yield target.removeprefix("#/definitions/")
        for item in value.values():
            yield from _references(item)


def _closed(schema: Schema) -> Schema:
    """Return `schema` as JSON Schema that refuses keys which it does not name, at every depth."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    closed = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "nullable"}
    if schema.get("nullable") and "type" in schema:
        closed["type"] = [schema["type"], "null"]
    if "properties" in schema:
        closed["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            closed[key] = _closed(schema[key])
    # What is inside allOf, anyOf, oneOf and not only narrows values that are described outside of it.
    return closed
