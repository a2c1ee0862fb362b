"""Repositories of images in Amazon ECR, made when they are missing."""

import re
from collections.abc import Iterable
from typing import Any

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<path>[a-z0-9/._-]+)"
)


def region(registry: str) -> str | None:
    """Return the region of a registry of ECR with a path in it, or None for one of others."""
    found = _ECR.fullmatch(registry)
    return found["region"] if found else None


def create(ecr: Any, registry: str, names: Iterable[str]) -> list[str]:
    """Make the repositories that `registry` lacks, and return their names.

    Tags in them are written once, and what is pushed is scanned.

    Args:
        ecr: boto3's client of the registry's region.

    Raises:
        ValueError: The registry is not one of ECR with a path.
    """
    found = _ECR.fullmatch(registry)
    if not found:
        raise ValueError(f"{registry} is not a registry and path of Amazon ECR")
    made = []
    for name in names:
        try:
            ecr.create_repository(
                registryId=found["account"],
                repositoryName=f"{found['path']}/{name}",
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
            )
        except ecr.exceptions.RepositoryAlreadyExistsException:
            continue
        made.append(f"{found['path']}/{name}")
    return made
