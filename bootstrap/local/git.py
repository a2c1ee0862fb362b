"""Desired state, read from the commit that is checked out: what nobody committed is not deployed."""

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


class GitError(Exception):
    """The repository or the commit does not have what is needed; the text says what to do."""


@dataclass(frozen=True)
class DesiredState:
    """What one commit wants of a cluster.

    Attributes:
        commit: The full hash.
        claims: Every manifest below `rendered/claims`.
        applications: The Argo CD Application of each runtime, by the runtime's name.
    """

    commit: str
    claims: list[Manifest]
    applications: dict[str, Manifest]


def head(repository: Path) -> str:
    """Return the hash of the commit that is checked out.

    Raises:
        GitError: There is none.
    """
    return _git(repository, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()


def read(repository: Path, commit: str, cluster: str) -> DesiredState:
    """Return what `commit` wants of the cluster in the folder `cluster`, a path relative to the repository.

    Raises:
        GitError: The commit has no rendered manifests for the cluster.
    """
    archive = _git(repository, "archive", "--format=tar", commit, f"{cluster}/rendered")
    claims: list[Manifest] = []
    applications: dict[str, Manifest] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            file = tar.extractfile(member)
            if file is None or not member.name.endswith(".yaml"):
                continue
            manifests = [manifest for manifest in yaml.safe_load_all(file) if manifest]
            folder = member.name.removeprefix(f"{cluster}/rendered/")
            if folder.startswith("claims/"):
                claims += manifests
            elif folder.startswith("applications/runtimes/"):
                applications |= {manifest["metadata"]["name"]: manifest for manifest in manifests}
    return DesiredState(commit, claims, applications)


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise GitError(
            f"`git {' '.join(arguments)}` failed in {repository}: {done.stderr.decode().strip() or 'no such commit'}. "
            "The embedded cluster runs what is committed: clone the repository, or run `make render` and commit."
        )
    return done.stdout
