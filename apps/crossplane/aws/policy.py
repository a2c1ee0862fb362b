"""IAM policies: who may do what to which resource."""

import json
from typing import Any

Statement = dict[str, Any]


def policy(*statements: Statement) -> str:
    """Return a policy's document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)


def allow(name: str, actions: list[str], *resources: str, **more: Any) -> Statement:
    """Return the statement `name` that allows `actions` on `resources`; `more` are its other elements."""
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": list(resources), **more}


def only_over_tls(actions: str, *resources: str) -> Statement:
    """Return the statement of a resource's policy that refuses `actions` to every request made without TLS."""
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": actions,
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def assumed_by(service: str, *actions: str, **condition: Any) -> str:
    """Return the trust policy of a role that only `service` may take on, in the way that `actions` say."""
    statement = {
        "Sid": "Service",
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": list(actions) or ["sts:AssumeRole"],
    }
    return policy(statement | ({"Condition": condition} if condition else {}))


def trace() -> Statement:
    """Return the statement that lets traces be written. X-Ray has no resource that a policy could name here."""
    return allow(
        "Trace",
        ["xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:PutTelemetryRecords", "xray:PutTraceSegments"],
        "*",
    )
