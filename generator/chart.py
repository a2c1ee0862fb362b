"""values.yaml, values.schema.json and README.md of runtimes/chart, all from generator/values.py."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import Field

from generator import tree
from generator.reference import default_text, places, plain, type_name
from generator.section import LandsIn, Older, Populated, Section
from generator.values import Karpenter, RuntimeValues

FOLDER = "runtimes/chart"
SOURCE = "generator/values.py and generator/chart.py"

INTRODUCTION = """# The chart of a runtime

One release is one runtime: an inference server and the queue agent that feeds it, in one pod; how many pods there are;
the GPU nodes they run on; and the models they read. The generator renders an Argo CD Application of it for every entry
of `modelsRuntime`; by itself it is `helm template NAME runtimes/chart --values FILE`.

| object | what for |
| --- | --- |
| Deployment | the pods: the inference server as a native sidecar, which outlives the agent's drain; the agent |
| ConfigMap `<runtime>-sdwebui` | the web UI's settings |
| ServiceAccount, Role, RoleBinding | the pods' role in AWS; the agent's right to mark its pod as busy |
| ScaledObject, TriggerAuthentication | KEDA: replicas by the length of the queue |
| NodePool, EC2NodeClass | Karpenter: the nodes |
| PersistentVolume, PersistentVolumeClaim | the models, read-only |
| PodDisruptionBudget, NetworkPolicy | how many pods may go at once; whom they talk to |
| PodMonitor, ConfigMap `<runtime>-dashboard` | metrics, where asked for |

The queue, the topics and the bucket come from the ConfigMap `<runtime>-inference`, which the InferenceRuntime claim
makes: pods wait until it is there. Further settings of the agent (`agent/README.md`) go into
`runtime.queueAgent.extraEnv`.

A pod that has to go gets `drainSeconds` for the job that runs, `finishSeconds` to store what is done, and a minute for
giving back the rest; its `terminationGracePeriodSeconds` is the sum. Jobs that wait in it are given back at once.

A spot instance is gone two minutes after its warning, whatever a pod is given. A job that is then still running is
received again when its visibility (`queue.visibilityTimeoutSeconds` of the claim) ends. Where jobs take longer than
that and all nodes are spot, `drainSeconds: 90` has them interrupted and given back in time; elsewhere it would break
off jobs in each rollout.

The Deployment says nothing of replicas, which are KEDA's. So a new runtime starts with one pod, until KEDA has looked
at its empty queue; a node that was launched for it goes with it.

## Values
"""


class Global(Section):
    """Facts of the cluster."""

    LANDS_IN = "everything"

    aws_region: str = Field("", description="AWS region of the cluster.")
    stack_name: str = Field("", description="Name of the stack, a tag of the nodes.")
    runtime: str = Field(
        "", description="Name of the runtime, which every other name starts with; without one, that of the release."
    )
    image_registry: str = Field("", description="Registry and path that the project's own images are below.")


class ChartValues(Section):
    """All values of the chart."""

    facts: Global = Field(default_factory=Global, alias="global", description="Facts of the cluster.")
    karpenter: Karpenter = Field(default_factory=Karpenter, description="The runtime's nodes.")
    runtime: RuntimeValues = Field(default_factory=RuntimeValues, description="The runtime's pods.")


@dataclass(frozen=True)
class Value:
    """One key of the chart's values.

    Attributes:
        default: Data, or the section that is below the key.
        lands_in: The object that it ends up in; empty for a section.
    """

    key: str
    description: str
    default: Any
    lands_in: str


def files() -> tree.Files:
    """Return the text of the generated files, by path."""
    return {
        f"{FOLDER}/values.yaml": values_yaml(),
        f"{FOLDER}/values.schema.json": schema_json(),
        f"{FOLDER}/README.md": readme(),
    }


def values_yaml() -> str:
    """Return every value with its default, below a sentence about it."""
    return "\n".join([*(f"# {line}" for line in tree.header(SOURCE)), *_yaml_lines(ChartValues(), "")]) + "\n"


def schema_json() -> str:
    """Return the JSON Schema of the values, which Helm checks whatever it is given against."""
    comment = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": " | ".join(tree.header(SOURCE))}
    return json.dumps({**comment, **schema()}, indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the values."""
    made = ChartValues.model_json_schema(by_alias=True)
    for section, _ in places(ChartValues, ""):
        properties = made["$defs"].get(section.__name__, made)["properties"]
        for key in section.model_fields.keys() & _older(section):
            del properties[section.keys()[key]]
        for name, field in section.model_fields.items():
            # Pydantic leaves out a description that the section below has as well.
            properties.get(section.keys()[name], {}).setdefault("description", field.description)
        properties |= {key: _schema_of(populated) for key, populated in section.POPULATED.items()}
        for value in properties.values():
            # Helm's defaults are in values.yaml.
            value.pop("default", None)
            value.pop("title", None)
    return made


def readme() -> str:
    """Return what the chart is, and a table of its values."""
    comment = "<!-- " + "\n     ".join(tree.header(SOURCE)) + " -->\n"
    rows = ["| Key | Type | Default | Meaning | Lands in |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([comment + INTRODUCTION, *rows, *_rows(ChartValues(), "", schema()["$defs"])]) + "\n"


def values_of(section: Section) -> Iterator[Value]:
    """Yield the chart's values in a section that has its defaults."""
    kind, older = type(section), _older(type(section))
    for key, populated in kind.POPULATED.items():
        yield Value(key, populated.description, populated.default, kind.LANDS_IN)
    for name, field in kind.model_fields.items():
        if name not in older:
            marks = (mark.object for mark in field.metadata if isinstance(mark, LandsIn))
            default = getattr(section, name)
            below = isinstance(default, Section)
            lands_in = "" if below else next(marks, kind.LANDS_IN)
            yield Value(kind.keys()[name], field.description or "", default if below else plain(default), lands_in)


def _older(section: type[Section]) -> set[str]:
    return {
        name for name, field in section.model_fields.items() if any(isinstance(mark, Older) for mark in field.metadata)
    }


def _schema_of(populated: Populated) -> dict[str, Any]:
    described: dict[str, Any] = {"description": populated.description}
    match populated.default:
        case _ if populated.choices:
            return described | {"enum": list(populated.choices)}
        case bool():
            return described | {"type": "boolean"}
        case dict():
            return described | {"type": "object", "additionalProperties": {"type": "string"}}
        case _:
            return described | {"type": "string"}


def _yaml_lines(section: Section, indent: str) -> Iterator[str]:
    for value in values_of(section):
        if not indent:
            yield ""
        yield f"{indent}# -- {value.description}"
        if isinstance(value.default, Section):
            yield f"{indent}{value.key}:"
            yield from _yaml_lines(value.default, indent + "  ")
        else:
            text = yaml.safe_dump({value.key: value.default}, sort_keys=False, width=10_000)
            yield from (indent + line for line in text.splitlines())


def _rows(section: Section, place: str, definitions: dict[str, Any]) -> Iterator[str]:
    properties = definitions.get(type(section).__name__, {}).get("properties", {})
    for value in values_of(section):
        if isinstance(value.default, Section):
            yield from _rows(value.default, f"{place}{value.key}.", definitions)
        else:
            kind = type_name(properties[value.key], definitions)
            default = default_text(value.default)
            yield f"| `{place}{value.key}` | {kind} | {default} | {value.description} | {value.lands_in} |"
