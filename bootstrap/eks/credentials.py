"""The credentials of a private repository: from the environment into a Secret of Argo CD, and nowhere else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootstrap.eks.step import StepError
from generator import names

Manifest = dict[str, Any]

SECRET = "repository"  # noqa: S105 (its name)


def repository_secret(url: str, environ: Mapping[str, str]) -> Manifest | None:
    """Return the Secret by which Argo CD reads a private repository; None if the environment has no credentials.

    Raises:
        StepError: The key cannot be read.
    """
    data = {"type": "git", "url": url}
    if file := environ.get("GIT_SSH_KEY_FILE"):
        try:
            data["sshPrivateKey"] = Path(file).expanduser().read_text()
        except OSError as error:
            raise StepError(f"GIT_SSH_KEY_FILE: {file} cannot be read: {error.strerror}") from error
    elif password := environ.get("GIT_PASSWORD"):
        data |= {"username": environ.get("GIT_USERNAME") or "git", "password": password}
    else:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "namespace": names.ARGOCD_NAMESPACE,
            # By which Argo CD finds it.
            "labels": {"argocd.argoproj.io/secret-type": "repository"},
        },
        "stringData": data,
    }
