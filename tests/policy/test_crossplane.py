"""Crossplane itself makes of our claims what the embedded default makes of them, and accepts it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.policy.crossplane import Crossplane, function_auto_ready, function_python
from tests.policy.rendered import Manifest, Rendered, claims, committed, existing, settled

FIXTURES = Path(__file__).parents[1] / "fixtures"
INVALID = sorted((FIXTURES / "invalid-claims").glob("*.yaml"))
GROUPS = claims(committed())
# Kinds of Kubernetes itself, which only kubeconform knows the schemas of.
BUILT_IN = {"v1", "apps/v1", "networking.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1"}


@pytest.fixture(scope="module")
def crossplane(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossplane]:
    with function_python() as python, function_auto_ready(tool("function-auto-ready")) as auto_ready:
        functions = {
            "crossplane-contrib-function-python": python,
            "crossplane-contrib-function-auto-ready": auto_ready,
        }
        yield Crossplane(tool("crossplane"), functions, tmp_path_factory.mktemp("crossplane"))


@pytest.mark.parametrize("owner", sorted(GROUPS))
def test_crossplane_renders_what_the_embedded_default_makes(crossplane: Crossplane, owner: str) -> None:
    ended = settled(GROUPS[owner])
    for claim, resources in ended:
        others = [other for other, _ in ended if other["kind"] != claim["kind"]]
        composite, rendered = crossplane.render(claim, existing(resources), others)
        assert {name: plain(item, claim) for name, item in rendered.items()} == resources
        assert composite["status"].items() >= claim["status"].items()
        ready = {item["type"]: item["status"] for item in composite["status"]["conditions"]}
        assert ready["Ready"] == "True"


def plain(rendered: Manifest, claim: Manifest) -> Manifest:
    """Return a resource without what Crossplane itself adds to every one, having looked at that."""
    metadata = dict(rendered["metadata"])
    (owner,) = metadata.pop("ownerReferences")
    assert (owner["kind"], owner["name"], owner["controller"]) == (claim["kind"], claim["metadata"]["name"], True)
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key != "crossplane.io/composite"}
    metadata["annotations"] = {
        key: value for key, value in metadata["annotations"].items() if key != "crossplane.io/composition-resource-name"
    }
    return rendered | {"metadata": {key: value for key, value in metadata.items() if value}}


def test_crossplane_accepts_every_custom_resource(crossplane: Crossplane, everything: list[Rendered]) -> None:
    # Unlike kubeconform, it knows the rules in CEL. A Composition's input is of a kind that no module defines.
    custom = [
        item.manifest
        for item in everything
        if item.manifest["apiVersion"] not in BUILT_IN and item.kind != "Composition"
    ]
    assert crossplane.validate(custom) == ""


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_claim_is_refused_with_what_is_wrong_with_it(crossplane: Crossplane, path: Path) -> None:
    text = path.read_text()
    expected = [line.removeprefix("# Refused: ") for line in text.splitlines() if line.startswith("# Refused: ")]
    assert expected, f"{path} does not say why it is refused"
    said = crossplane.validate([yaml.safe_load(text)])
    assert [line for line in expected if line not in said] == [], said
