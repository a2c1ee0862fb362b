"""What two independent scanners find is mended, or excepted with a reason."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from tests.conftest import not_run
from tests.policy.findings import exemptions, judge
from tests.policy.rendered import Rendered
from tests.policy.scanners import Manifests

# Neither scanner has a check for a managed resource: what is in one is looked at by our own rules.
MANAGED = ".upbound.io"


@pytest.fixture(scope="module")
def manifests(everything: list[Rendered], tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """Everything that a scanner knows, and one Deployment with a mistake of each kind."""
    known = [item for item in everything if MANAGED not in item.manifest["apiVersion"]]
    wrong = deepcopy(next(item for item in everything if item.kind == "Deployment").manifest)
    wrong["spec"]["template"]["spec"]["hostNetwork"] = True
    wrong["spec"]["template"]["spec"]["containers"][0]["image"] = "darkroom/agent:latest"
    return Manifests(tmp_path_factory.mktemp("manifests"), [*known, Rendered("a mistake", wrong)])


def test_kube_linter_finds_nothing_but_what_is_excepted(manifests: Manifests, tool: Callable[[str], Path]) -> None:
    found = list(manifests.kube_linter(tool("kube-linter")))
    assert {"host-network", "latest-tag"} <= {item.check for item in found if "a mistake" in item.where}
    assert judge((item for item in found if "a mistake" not in item.where), exemptions("kube-linter")) == ""


@pytest.mark.timeout(300)  # It needs ten seconds of a processor, which are many more on a busy one.
def test_checkov_finds_nothing_but_what_is_excepted(manifests: Manifests, repository: Path) -> None:
    program = repository / ".venv-scanner" / "bin" / "checkov"
    if not program.exists():
        not_run("checkov is not installed.", "`make test` installs it into .venv-scanner.")
    found = list(manifests.checkov(program))
    assert {"CKV_K8S_19", "CKV_K8S_14"} <= {item.check for item in found if "a mistake" in item.where}
    assert judge((item for item in found if "a mistake" not in item.where), exemptions("checkov")) == ""
