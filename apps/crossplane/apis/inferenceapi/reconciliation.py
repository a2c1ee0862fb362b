"""What an instance of the job API left undone when it died: a function on a schedule does it."""

from apps.crossplane.apis.inferenceapi.function import Function, environment_of, function, taking_jobs
from apps.crossplane.aws.owner import Manifest, Owner

SCHEDULE = "rate(1 minute)"
RECONCILIATION_TIMEOUT_SECONDS = 60


def reconciliation(owner: Owner, spec: Manifest) -> dict[str, Manifest]:
    """Return the function and what calls it.

    Args:
        spec: The claim's `spec`.
    """
    it = Function(
        "reconciler",
        "api.reconciliation.handler",
        environment_of(owner),
        RECONCILIATION_TIMEOUT_SECONDS,
        taking_jobs(owner),
    )
    name = it.name(owner)
    rule = {
        "description": f"Has the jobs published that the job API of {owner.name} recorded and did not publish.",
        "eventBusName": "default",
        "scheduleExpression": SCHEDULE,
    }
    target = {
        "ruleRef": owner.reference("reconciler"),
        "eventBusName": "default",
        "targetId": "reconciler",
        "arn": owner.arn("lambda", f"function:{name}"),
    }
    permission = {
        "action": "lambda:InvokeFunction",
        "functionNameRef": owner.reference("reconciler"),
        "principal": "events.amazonaws.com",
        "sourceArn": owner.arn("events", f"rule/{name}"),
        "statementId": "schedule",
    }
    return {
        **function(owner, spec, it),
        "reconciler-schedule": owner.managed("cloudwatchevents", "Rule", "reconciler", rule, external_name=name),
        "reconciler-target": owner.managed("cloudwatchevents", "Target", "reconciler", target),
        "reconciler-permission": owner.managed("lambda", "Permission", "reconciler", permission),
    }
