"""compose.py and what it imports become one script, which does the same."""

import types
from pathlib import Path

import pytest
import yaml

from generator.composition import Api, composition, joined
from generator.tree import yaml_text
from tests.generator.cases import ROOT

APIS = sorted(path.parent for path in (ROOT / "apps" / "crossplane" / "apis").glob("*/definition.yaml"))


def join(**modules: str) -> str:
    """Join the module `main` with others of the given texts."""
    return joined("apps.crossplane.main", lambda name: modules[name.rpartition(".")[2]])


def run(script: str) -> types.ModuleType:
    """Run a script as function-python does."""
    module = types.ModuleType("composition")
    exec(compile(script, "composition.yaml", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("folder", APIS, ids=lambda folder: folder.name)
def test_the_script_of_a_composition_stands_alone(folder: Path) -> None:
    text = (folder / "composition.yaml").read_text()
    assert "      script: |\n" in text  # it can be read
    first, second = yaml.safe_load(text)["spec"]["pipeline"]
    assert first["input"]["kind"] == "Script"
    assert "from apps" not in first["input"]["script"]
    assert callable(run(first["input"]["script"]).compose)
    assert second["functionRef"]["name"] == "crossplane-contrib-function-auto-ready"


def test_a_composition_is_of_the_version_that_its_definition_refers_to() -> None:
    versions = [{"name": "v1alpha1", "referenceable": False}, {"name": "v1", "referenceable": True}]
    definition = {
        "metadata": {"name": "darks.example.org"},
        "spec": {"group": "example.org", "names": {"kind": "Dark"}, "versions": versions},
    }
    made = yaml.safe_load(yaml_text(composition(Api("apis/dark", definition), "pass\n"), "x"))
    assert made["spec"]["compositeTypeRef"] == {"apiVersion": "example.org/v1", "kind": "Dark"}


def test_a_module_stands_where_it_is_first_imported_and_only_once() -> None:
    script = join(
        main="import json\nfrom apps.crossplane.b import (\n    B,\n)\nfrom apps.crossplane.a import A\nC = [A, B]\n",
        b="from apps.crossplane.a import A\nB = A + 1\n",
        a="A = 1\n",
    )
    assert run(script).C == [1, 2]
    assert script.count("A = 1\n") == 1
    assert script.startswith("import json\n# apps.crossplane.b\n# apps.crossplane.a\nA = 1\n")


def test_two_modules_that_define_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"crossplane\.main and apps\.crossplane\.a both define _f"):
        join(main="def _f(): ...\nfrom apps.crossplane.a import A\n", a="A = 1\ndef _f(): ...\n")


@pytest.mark.parametrize("statement", ["import apps.crossplane.a", "from apps.crossplane.a import A as B"])
def test_an_import_that_cannot_be_joined_is_refused(statement: str) -> None:
    with pytest.raises(ValueError, match=r"apps\.crossplane\.main, line 1"):
        join(main=f"{statement}\n", a="A = 1\n")
