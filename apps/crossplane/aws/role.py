"""Roles of IAM, each with one policy of its own."""

import hashlib

from apps.crossplane.aws.owner import Manifest, Owner
from apps.crossplane.aws.policy import Statement, policy

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
LONGEST_NAME = 64
NAME_DIGEST_LENGTH = 8


def role(owner: Owner, prefix: str, name: str, trust: str, *statements: Statement) -> dict[str, Manifest]:
    """Return a role, with the composition's names for its parts starting with `prefix`.

    Args:
        name: Name in AWS.
        trust: The policy that says who may take it on.
        statements: What it allows.
    """
    purpose = f"{prefix}role"
    settings = {"policy": policy(*statements), "roleRef": owner.reference(purpose)}
    return {
        purpose: owner.managed("iam", "Role", purpose, {"assumeRolePolicy": trust}, external_name=name),
        f"{purpose}-policy": owner.managed("iam", "RolePolicy", purpose, settings, external_name="resources"),
    }


def role_name(*parts: str) -> str:
    """Return a name for a role; one that would be too long ends with a digest of all of it instead."""
    name = "".join(parts)
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:NAME_DIGEST_LENGTH]
    return f"{name[: LONGEST_NAME - NAME_DIGEST_LENGTH - 1]}.{digest}"
