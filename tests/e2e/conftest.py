"""The cluster of the stories, with a repository that Argo CD reads."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import machine, platform
from tests.e2e.cluster.components import ROOT
from tests.e2e.cluster.places import REPOSITORIES
from tools.install import install

FOLDER = "clusters/e2e"


class Repository:
    """A clone of this repository, with the cluster's own folder, and the bare one that the git server serves."""

    def __init__(self, clone: Path) -> None:
        self._clone = clone
        self._served = REPOSITORIES / "darkroom.git"
        subprocess.run(["git", "clone", "--quiet", "--no-local", str(ROOT), str(clone)], check=True)
        self._git("checkout", "--quiet", "-B", "main")
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(self._served)], check=True)
        (clone / FOLDER).mkdir()
        self.commit((Path(__file__).with_name("config.yaml")).read_text())

    @property
    def applications(self) -> Path:
        """The folder of the rendered Applications."""
        return self._clone / FOLDER / "rendered" / "applications"

    def commit(self, config: str) -> None:
        """Render `config`, commit, and push, as somebody who changes the cluster does."""
        (self._clone / FOLDER / "config.yaml").write_text(config)
        subprocess.run([sys.executable, "generator/render.py", FOLDER], cwd=self._clone, check=True)
        self._git("add", FOLDER)
        self._git("-c", "user.name=e2e", "-c", "user.email=e2e@example.com", "commit", "--quiet", "--message=e2e")
        self._git("push", "--quiet", str(self._served), "main")

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self._clone), *arguments], check=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """Bring a cluster up with Argo CD, Crossplane and KEDA, and take it down."""
    began = time.monotonic()
    try:
        machine.up(install("k8s"), install("crane"))
        for step in (
            platform.install_dns,
            platform.install_argocd,
            platform.install_crossplane,
            platform.install_keda,
            platform.install_definitions_of_karpenter,
        ):
            step()
            sys.stdout.write(f"{step.__name__}: done {time.monotonic() - began:.0f} s after the start\n")
        yield
    finally:
        machine.down()


@pytest.fixture(scope="session")
def repository(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return the repository that the cluster is run from."""
    return Repository(tmp_path_factory.mktemp("repository") / "darkroom")
