"""Rules for what AWS lets whom do, over every policy document in a manifest."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.policy.findings import Finding
from tests.policy.rendered import Manifest, Rendered

# `*`, or an ARN that says no more than the service, the region and the account.
UNNAMED = re.compile(r"^(\*|arn:[^:]+:[^:]+:[^:]*:[^:]*:\*)$")
# Kinds whose policy lets others in, as opposed to a role's own policy and to who may take a role.
RESOURCE_POLICIES = {"BucketPolicy", "QueuePolicy", "Resource", "TopicPolicy"}


def find(items: list[Rendered]) -> Iterator[Finding]:
    """Yield what is too broad in the policy documents of `items`."""
    for item in items:
        for statement in statements(item.manifest):
            if statement["Effect"] == "Allow":
                yield from _too_broad(item, statement)


def _too_broad(item: Rendered, statement: Manifest) -> Iterator[Finding]:
    for inverted in ("NotAction", "NotResource", "NotPrincipal"):
        if inverted in statement:
            yield Finding("iam", "inverted", inverted, item.name, "allows all but what it names")
    unnamed = [resource for resource in _list(statement.get("Resource", [])) if UNNAMED.match(resource)]
    for action in _list(statement.get("Action", [])):
        if "*" in action:
            yield Finding("iam", "named-action", action, item.name, "allows whatever actions there are")
        for resource in unnamed:
            yield Finding("iam", "named-resource", action, item.name, f"is allowed on {resource}")
    if item.kind in RESOURCE_POLICIES:
        yield from _open_to_others(item, statement)


def _open_to_others(item: Rendered, statement: Manifest) -> Iterator[Finding]:
    principal = statement.get("Principal", {})
    if principal == "*" or "*" in _list(principal.get("AWS", [])):
        yield Finding("iam", "named-principal", item.kind, item.name, "lets anybody in")
    elif "Service" in principal and "aws:SourceArn" not in json.dumps(statement.get("Condition", {})):
        text = "lets a service in on anybody's behalf: it needs a condition on aws:SourceArn"
        yield Finding("iam", "confused-deputy", item.kind, item.name, text)


def statements(value: Any) -> Iterator[Manifest]:
    """Yield the statements of all policy documents in `value`, also of those that are JSON in a text."""
    if isinstance(value, dict):
        if "Statement" in value:
            yield from _list(value["Statement"])
        for item in value.values():
            yield from statements(item)
    elif isinstance(value, list):
        for item in value:
            yield from statements(item)
    elif isinstance(value, str) and value.startswith("{") and "Statement" in value:
        yield from statements(json.loads(value))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
