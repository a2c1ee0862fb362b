"""Desired state, read from the commit that is checked out: what nobody committed is not deployed."""

import io
import subprocess
import tarfile
from collections.abc import Iterator
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
        config: The text of config.yaml, which the others were made from.
        rendered: The text of every rendered file, by its path in the repository.
    """

    commit: str
    claims: list[Manifest]
    applications: dict[str, Manifest]
    config: str
    rendered: dict[str, str]


def head(repository: Path) -> str:
    """Return the hash of the commit that is checked out.

    Raises:
        GitError: There is none.
    """
    return _git(repository, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()


def read(repository: Path, commit: str, cluster: str) -> DesiredState:
    """Return what `commit` wants of the cluster in the folder `cluster`, a path relative to the repository.

    Raises:
        GitError: The commit has no manifests for the cluster, or some that cannot be read.
    """
    archive = _git(repository, "archive", "--format=tar", commit, f"{cluster}/config.yaml", f"{cluster}/rendered")
    files: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            if file := tar.extractfile(member):
                files[member.name] = file.read().decode(errors="replace")
    config = files.pop(f"{cluster}/config.yaml")
    manifests = {path: list(_manifests(path, text)) for path, text in files.items() if path.endswith(".yaml")}
    claims, applications = f"{cluster}/rendered/claims/", f"{cluster}/rendered/applications/runtimes/"
    return DesiredState(
        commit,
        claims=[manifest for path, found in manifests.items() if path.startswith(claims) for manifest in found],
        applications={
            manifest["metadata"]["name"]: manifest
            for path, found in manifests.items()
            if path.startswith(applications)
            for manifest in found
        },
        config=config,
        rendered=files,
    )


def _manifests(path: str, text: str) -> Iterator[Manifest]:
    try:
        for manifest in yaml.safe_load_all(text):
            if not isinstance(manifest, dict) or not {"kind", "metadata"} <= manifest.keys():
                raise GitError(f"{path} is not a manifest: run `make render` and commit")
            yield manifest
    except yaml.YAMLError as error:
        raise GitError(f"{path} is not YAML: run `make render` and commit\n{error}") from error


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise GitError(
            f"`git {' '.join(arguments)}` failed in {repository}: {done.stderr.decode().strip() or 'no such commit'}. "
            "The embedded cluster runs what is committed: clone the repository, or run `make render` and commit."
        )
    return done.stdout
