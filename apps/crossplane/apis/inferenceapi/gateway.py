"""The REST API of API Gateway in front of the job API."""

import hashlib
import json
from typing import Any

from apps.crossplane.apis.inferenceapi.openapi import OPENAPI
from apps.crossplane.aws.alarm import Metric, alarm
from apps.crossplane.aws.owner import KEPT, Manifest, Owner, domain, partition
from apps.crossplane.aws.policy import allow, assumed_by
from apps.crossplane.aws.role import role, role_name

# What OPENAPI has where the address of the function goes.
INTEGRATION_URI = "__INTEGRATION_URI__"
DOCUMENT_DIGEST_LENGTH = 10
DEPLOYMENT = "deployment-"
# More answers 5xx than these in five minutes are an alarm: one can be an accident.
TOLERATED_ERRORS = 5

# What an access log says of a request: neither header nor query, where secrets and prompts may be.
ACCESS_LOG = {
    "requestId": "$context.requestId",
    "time": "$context.requestTime",
    "ip": "$context.identity.sourceIp",
    "apiKeyId": "$context.identity.apiKeyId",
    "method": "$context.httpMethod",
    "path": "$context.path",
    "status": "$context.status",
    "responseLength": "$context.responseLength",
    "latencyMilliseconds": "$context.responseLatency",
    "integrationError": "$context.integrationErrorMessage",
    "trace": "$context.xrayTraceId",
}


def gateway(owner: Owner, spec: Manifest, observed: dict[str, Manifest]) -> dict[str, Manifest]:
    """Return the REST API with its stage, and who may call it how often.

    Args:
        spec: The claim's `spec`.
        observed: The resources as they are, by the composition's names.
    """
    document = body(owner, key_required=spec["apiKey"]["required"])
    description = f"Job API of {owner.name}; document {digest(document)}"
    settings = {
        "name": owner.name,
        "description": description,
        "body": document,
        "endpointConfiguration": {"types": ["REGIONAL"]},
    }
    made = {"rest-api": owner.managed("apigateway", "RestAPI", "api", settings)}
    made |= deployments(owner, digest(document), description, observed)
    made |= access_log(owner, spec["logs"])
    made |= stage(owner, spec, serving(owner, digest(document), made, observed))
    if spec["apiKey"]["required"]:
        made |= api_key(owner, spec["throttle"])
    if identifier := rest_api_id(observed):
        # The API's own id, so that no other API of the account can call the function.
        source = owner.arn("execute-api", f"{identifier}/*/*")
        made["api-permission"] = owner.managed(
            "lambda",
            "Permission",
            "api",
            {
                "action": "lambda:InvokeFunction",
                "functionNameRef": owner.reference("api"),
                "principal": "apigateway.amazonaws.com",
                "sourceArn": source,
                "statementId": "api-gateway",
            },
        )
    return made


def body(owner: Owner, *, key_required: bool) -> str:
    """Return the document of the REST API, with the function's address in it."""
    function = owner.arn("lambda", f"function:{owner.name}-api")
    uri = (
        f"arn:{partition(owner.region)}:apigateway:{owner.region}:lambda:path/2015-03-31/functions/{function}"
        "/invocations"
    )
    document: Manifest = json.loads(OPENAPI.replace(INTEGRATION_URI, uri))
    if not key_required:
        for methods in document["paths"].values():
            for method in methods.values():
                method.pop("security", None)
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def digest(document: str) -> str:
    """Return what tells one document from another."""
    return hashlib.sha256(document.encode()).hexdigest()[:DOCUMENT_DIGEST_LENGTH]


def rest_api_id(observed: dict[str, Manifest]) -> str | None:
    """Return the id that AWS gave the REST API, once it has one; it stays with the managed resource."""
    annotations = observed.get("rest-api", {}).get("metadata", {}).get("annotations", {})
    found: str | None = annotations.get("crossplane.io/external-name")
    return found


def url(owner: Owner, stage_name: str, observed: dict[str, Manifest]) -> str | None:
    """Return where the job API is called, once that is known."""
    identifier = rest_api_id(observed)
    if not identifier:
        return None
    return f"https://{identifier}.execute-api.{owner.region}.{domain(owner.region)}/{stage_name}"


def deployments(owner: Owner, current: str, description: str, observed: dict[str, Manifest]) -> dict[str, Manifest]:
    """Return the deployments that there should be: a deployment is a copy of the document, and never changes.

    The one of the current document is made when AWS has that document, which it tells by the description: sooner, it
    would be a copy of the document before. Earlier ones stay until the stage has moved on, since AWS deletes none that
    serves.
    """
    key = f"{DEPLOYMENT}{current}"
    earlier = {name for name in observed if name.startswith(DEPLOYMENT) and name != key}
    wanted = set[str]()
    if key in observed or at_provider(observed, "rest-api").get("description") == description:
        wanted.add(key)
    serves = at_provider(observed, "stage").get("deploymentId")
    if not (serves and serves == at_provider(observed, key).get("id")):
        wanted |= earlier
    return {
        name: owner.managed(
            "apigateway",
            "Deployment",
            name,
            {"restApiIdRef": owner.reference("api"), "triggers": {"document": name.removeprefix(DEPLOYMENT)}},
        )
        for name in sorted(wanted)
    }


def serving(owner: Owner, current: str, made: dict[str, Manifest], observed: dict[str, Manifest]) -> str:
    """Return the name of the deployment that the stage serves: the current one, or the last one while it is not made.

    Kubernetes' name, since AWS's is not known before.
    """
    name: str = owner.reference(f"{DEPLOYMENT}{current}")["name"]
    if f"{DEPLOYMENT}{current}" in made:
        return name
    reference = observed.get("stage", {}).get("spec", {}).get("forProvider", {}).get("deploymentIdRef", {})
    last: str = reference.get("name", name)
    return last


def at_provider(observed: dict[str, Manifest], key: str) -> dict[str, Any]:
    """Return what AWS says of the observed resource `key`, as far as it is known."""
    found: dict[str, Any] = observed.get(key, {}).get("status", {}).get("atProvider", {})
    return found


def stage(owner: Owner, spec: Manifest, deployment: str) -> dict[str, Manifest]:
    """Return the stage that serves `deployment`, with its limits, and an alarm for answers 5xx."""
    settings = {
        "restApiIdRef": owner.reference("api"),
        "stageName": spec["stageName"],
        # Always, or the stage would go on with the first deployment that it was resolved to.
        "deploymentIdRef": {"name": deployment, "policy": {"resolve": "Always"}},
        "xrayTracingEnabled": spec["tracing"],
    }
    if spec["logs"]["access"]:
        settings["accessLogSettings"] = {
            "destinationArn": owner.arn("logs", f"log-group:{access_log_group(owner)}"),
            "format": json.dumps(ACCESS_LOG),
        }
    # Without a key there is no usage plan to keep one client from taking everything.
    limits = spec["stageThrottle"] if spec["apiKey"]["required"] else spec["throttle"]
    methods = {
        "restApiIdRef": owner.reference("api"),
        "stageNameRef": owner.reference("stage"),
        "methodPath": "*/*",
        "settings": {
            "metricsEnabled": True,
            "throttlingRateLimit": limits["rateLimit"],
            "throttlingBurstLimit": limits["burstLimit"],
        },
    }
    errors = Metric("AWS/ApiGateway", "5XXError", {"ApiName": owner.name, "Stage": spec["stageName"]}, "Sum")
    return {
        "stage": owner.managed("apigateway", "Stage", "stage", settings),
        "stage-limits": owner.managed("apigateway", "MethodSettings", "stage", methods),
        "stage-errors": alarm(
            owner,
            "stage-errors",
            errors,
            TOLERATED_ERRORS,
            f"The job API answered 5xx: the log of its function is /aws/lambda/{owner.name}-api.",
            spec["alarms"].get("topicArn"),
            f"{owner.name}-api-5xx",
        ),
    }


def access_log_group(owner: Owner) -> str:
    """Return the name of the log group of requests."""
    return f"/aws/apigateway/{owner.name}"


def access_log(owner: Owner, logs: Manifest) -> dict[str, Manifest]:
    """Return the log of requests, and the role by which API Gateway writes it.

    That role is set once for an account and region. It is left when the claim goes, for whoever else uses it.
    """
    if not logs["access"]:
        return {}
    made = {
        "access-log": owner.managed(
            "cloudwatchlogs",
            "Group",
            "access-log",
            {"retentionInDays": logs["retentionDays"]},
            external_name=access_log_group(owner),
        )
    }
    if logs["accountRole"] == "Existing":
        return made
    # API Gateway checks that the role may do all of this anywhere in the account before it takes it.
    write = allow(
        "Write",
        [
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogGroups",
            "logs:DescribeLogStreams",
            "logs:FilterLogEvents",
            "logs:GetLogEvents",
            "logs:PutLogEvents",
        ],
        owner.arn("logs", "*"),
    )
    name = role_name(owner.name, "-access-log-", owner.region)
    made |= role(owner, "access-log-", name, assumed_by("apigateway.amazonaws.com"), write)
    made["access-log-account"] = owner.managed(
        "apigateway", "Account", "access-log", {"cloudwatchRoleArnRef": owner.reference("access-log-role")}
    )
    for key in ("access-log-role", "access-log-role-policy", "access-log-account"):
        made[key]["spec"]["managementPolicies"] = KEPT
    return made


def api_key(owner: Owner, throttle: Manifest) -> dict[str, Manifest]:
    """Return the first API key, whose value goes into a Secret beside the claim, and the plan that limits each key."""
    plan = {
        "name": owner.name,
        "description": "What one key may ask for.",
        "apiStages": [{"apiIdRef": owner.reference("api"), "stageRef": owner.reference("stage")}],
        "throttleSettings": {"rateLimit": throttle["rateLimit"], "burstLimit": throttle["burstLimit"]},
    }
    key = owner.managed("apigateway", "APIKey", "key", {"name": owner.name, "description": "The first API key."})
    key["spec"]["writeConnectionSecretToRef"] = {"name": api_key_secret(owner)}
    membership = {
        "keyIdRef": owner.reference("key"),
        "keyType": "API_KEY",
        "usagePlanIdRef": owner.reference("plan"),
    }
    return {
        "api-key": key,
        "usage-plan": owner.managed("apigateway", "UsagePlan", "plan", plan),
        "usage-plan-key": owner.managed("apigateway", "UsagePlanKey", "key", membership),
    }


def api_key_secret(owner: Owner) -> str:
    """Return the name of the Secret that has the value of the API key."""
    return f"{owner.name}-api-key"
