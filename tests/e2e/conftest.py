"""The cluster of the stories, with a repository that Argo CD reads."""

import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import crossplane, dockerfiles, karpenter, machine, platform
from tests.e2e.cluster.components import ROOT
from tests.e2e.cluster.places import REPOSITORIES
from tests.e2e.cluster.platform import kubectl
from tests.e2e.service import Service
from tools.install import install

FOLDER = "clusters/e2e"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OWN_IMAGES = {"agent": "agent", "api": "api", "webui/tiny": "tiny"}


class Repository:
    """A clone of this repository, with the cluster's own folder, and the bare one that the git server serves.

    Attributes:
        config: What the cluster's file says.
    """

    def __init__(self, clone: Path) -> None:
        self._clone = clone
        self._served = REPOSITORIES / "darkroom.git"
        subprocess.run(["git", "clone", "--quiet", "--no-local", str(ROOT), str(clone)], check=True)
        self._git("checkout", "--quiet", "-B", "main")
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(self._served)], check=True)
        (clone / FOLDER).mkdir()
        self.commit((Path(__file__).with_name("config.yaml")).read_text())

    def hand_over(self) -> None:
        """Give the cluster to git, as the bootstrap does."""
        applications = self._clone / FOLDER / "rendered" / "applications"
        kubectl("apply", "--server-side", f"--filename={applications / 'projects'}")
        kubectl("apply", "--server-side", f"--filename={applications / 'root.yaml'}")

    def commit(self, config: str) -> None:
        """Render `config`, commit, and push, as somebody who changes the cluster does."""
        self.config = config
        (self._clone / FOLDER / "config.yaml").write_text(config)
        subprocess.run([sys.executable, "generator/render.py", FOLDER], cwd=self._clone, check=True)
        self._git("add", FOLDER)
        self._git("-c", "user.name=e2e", "-c", "user.email=e2e@example.com", "commit", "--quiet", "--message=e2e")
        self._git("push", "--quiet", str(self._served), "main")

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self._clone), *arguments], check=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """Bring a cluster up with Argo CD, KEDA and Karpenter, and all else where manifests look for it; take it down."""
    if machine.process() is not None:
        pytest.exit("A cluster is up already: `make cluster-down` takes it down", returncode=2)
    began = time.monotonic()
    try:
        machine.up(install("k8s"), install("crane"))
        for step in (
            platform.install_dns,
            platform.give_pods_aws,
            platform.install_argocd,
            crossplane.publish,
            platform.install_keda,
            karpenter.install_karpenter,
            platform.offer_gpus,
            publish_own_images,
        ):
            step()
            sys.stdout.write(f"{step.__name__}: done {time.monotonic() - began:.0f} s after the start\n")
        yield
    finally:
        machine.down()


def publish_own_images() -> None:
    """Publish the images of this repository where its cluster's registry would be."""
    for folder, name in OWN_IMAGES.items():
        dockerfiles.push(folder, f"darkroom/{name}:{VERSION}")


@pytest.fixture(scope="session")
def repository(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return the repository that the cluster is run from."""
    return Repository(tmp_path_factory.mktemp("repository") / "darkroom")


@pytest.fixture(scope="session")
def service(repository: Repository) -> Service:
    """Return the service that the cluster runs."""
    return Service()
