"""Everything rendered is what the API servers' own schemas allow, and nothing that they would drop or refuse."""

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.policy.rendered import APIS, Rendered, merged
from tools import schema

OWN = {
    definition["spec"]["names"]["kind"]: definition
    for definition in (yaml.safe_load(path.read_text()) for path in sorted(APIS.glob("*/definition.yaml")))
}


@pytest.fixture(scope="module")
def conform(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Runs kubeconform over manifests and returns what it says against each, by what the manifest is called."""
    kubeconform = tool("kubeconform")
    own = tmp_path_factory.mktemp("own")
    for kind, definition in OWN.items():
        api_version = f"{definition['spec']['group']}/{definition['spec']['versions'][0]['name']}"
        path = own / schema.file_name(api_version, kind)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(of_claims(definition)))

    def run(manifests: Iterable[Rendered]) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("manifests")
        files = {}
        for number, item in enumerate(manifests):
            path = folder / f"{number}.yaml"
            path.write_text(yaml.dump(item.manifest, Dumper=yaml.CSafeDumper))
            files[str(path)] = item
        kinds = {(item.manifest["apiVersion"], item.kind) for item in files.values()}
        theirs = schema.folder({kind for kind in kinds if kind[1] not in OWN})
        locations = [f"-schema-location={place}/{schema.TEMPLATE}" for place in (own, theirs)]
        command = [str(kubeconform), "-strict", "-output=json", "-verbose", "-n=2", *locations, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        said = json.loads(done.stdout)["resources"]
        assert len(said) == len(files), done.stdout
        return {files[one["filename"]].name: one["msg"] for one in said if one["status"] != "statusValid"}

    return run


def of_claims(definition: dict[str, Any]) -> schema.Schema:
    """Return the schema of a claim: what its definition describes, and what Crossplane adds to every one."""
    found = schema.of_definition(definition, definition["spec"]["versions"][0]["name"])
    found["properties"]["spec"]["properties"]["crossplane"] = {"type": "object"}
    return found


def test_everything_rendered_conforms_to_its_schema(
    conform: Callable[..., dict[str, str]], everything: list[Rendered]
) -> None:
    assert conform(everything) == {}


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        ("Deployment", {"spec": {"replica": 2}}, "additional properties 'replica' not allowed"),
        ("NodePool", {"spec": {"template": {"spec": {"expiresAfter": "1h"}}}}, "additional properties 'expiresAfter'"),
        ("ScaledObject", {"spec": {"minReplicaCount": "none"}}, "got string, want integer"),
        ("Application", {"spec": {"syncPolicy": {"automatic": {}}}}, "additional properties 'automatic' not allowed"),
        ("Queue", {"spec": {"forProvider": {"queueName": "q"}}}, "additional properties 'queueName' not allowed"),
        ("InferenceAPI", {"spec": {"regions": []}}, "additional properties 'regions' not allowed"),
        ("ServiceAccount", {"metadata": {"label": {}}}, "additional properties 'label' not allowed"),
    ],
)
def test_a_mistake_is_found_in_every_kind_of_manifest(
    conform: Callable[..., dict[str, str]],
    everything: list[Rendered],
    kind: str,
    change: dict[str, Any],
    complaint: str,
) -> None:
    right = next(item for item in everything if item.kind == kind)
    wrong = Rendered("a mistake", merged(right.manifest, change))
    assert complaint in conform([wrong])[wrong.name]


def test_a_kind_that_no_schema_describes_is_an_error() -> None:
    with pytest.raises(schema.UnknownKindError, match=r"no module of tools/schemas/go\.mod defines Quue of sqs"):
        schema.folder({("sqs.aws.m.upbound.io/v1beta1", "Quue")})
