"""Functions of Lambda: both run the job API's image, each with a command, a role and a log of its own."""

from dataclasses import dataclass

from apps.crossplane.apis.inferenceapi.names import bucket_name, topic_arn
from apps.crossplane.aws.alarm import Metric, alarm
from apps.crossplane.aws.owner import Manifest, Owner
from apps.crossplane.aws.policy import Statement, allow, assumed_by, trace
from apps.crossplane.aws.role import role, role_name

# The longest that API Gateway waits for an answer.
API_TIMEOUT_SECONDS = 29


@dataclass(frozen=True)
class Function:
    """What one function differs by.

    Attributes:
        purpose: Ends its name and starts the composition's names for its parts.
        command: What of the image Lambda calls.
        environment: Environment variables.
        timeout_seconds: How long one call may take.
        statements: What its role allows, beside its log and traces.
    """

    purpose: str
    command: str
    environment: dict[str, str]
    timeout_seconds: int
    statements: list[Statement]

    def name(self, owner: Owner) -> str:
        """Return its name in AWS."""
        return f"{owner.name}-{self.purpose}"


def job_api(owner: Owner, outputs: Manifest) -> Function:
    """Return the function that answers requests: api/README.md says what its role needs, and why.

    Args:
        outputs: The claim's `spec.outputs`.
    """
    bucket = bucket_name(owner, "outputs")
    statements = [
        *taking_jobs(owner),
        # Links to pictures give what the function may read, and links for uploads what it may write.
        allow("Links", ["s3:GetObject"], owner.bucket_arn(bucket, "*")),
        allow("Uploads", ["s3:PutObject"], owner.bucket_arn(bucket, "uploads/*")),
        allow("Depth", ["sqs:GetQueueAttributes"], owner.arn("sqs", f"{owner.name}_*")),
    ]
    # Pages that may load pictures by their links may ask for them, too.
    environment = environment_of(owner) | {"CORS_ALLOWED_ORIGINS": ",".join(outputs["corsAllowedOrigins"])}
    return Function("api", "api.aws_lambda.handler", environment, API_TIMEOUT_SECONDS, statements)


def environment_of(owner: Owner) -> dict[str, str]:
    """Return what functions that take jobs, or finish taking them, are told."""
    return {
        "SNS_TOPIC_ARN": topic_arn(owner, "input"),
        "S3_OUTPUT_BUCKET": bucket_name(owner, "outputs"),
        "RUNTIMES_BUCKET": bucket_name(owner, "config"),
    }


def taking_jobs(owner: Owner) -> list[Statement]:
    """Return what taking a job needs: to look where it goes, record it, and publish it."""
    outputs, config = bucket_name(owner, "outputs"), bucket_name(owner, "config")
    records, outbox = owner.bucket_arn(outputs, "jobs/*"), owner.bucket_arn(outputs, "outbox/*")
    return [
        allow("Publish", ["sns:Publish"], topic_arn(owner, "input")),
        allow("Table", ["s3:GetObject"], owner.bucket_arn(config, "runtimes.json")),
        allow("Look", ["s3:ListBucket"], owner.bucket_arn(outputs), owner.bucket_arn(config)),
        allow("Read", ["s3:GetObject"], records, outbox),
        allow("Record", ["s3:PutObject"], records, outbox, owner.bucket_arn(outputs, "index/*")),
        allow("Strike", ["s3:DeleteObject"], outbox),
    ]


def function(owner: Owner, spec: Manifest, it: Function) -> dict[str, Manifest]:
    """Return the function `it` with its role, its log, and an alarm for calls that fail.

    Args:
        spec: The claim's `spec`.
    """
    name, purpose = it.name(owner), it.purpose
    log_group = f"/aws/lambda/{name}"
    log = allow("Log", ["logs:CreateLogStream", "logs:PutLogEvents"], owner.arn("logs", f"log-group:{log_group}:*"))
    image = spec["function"]
    settings = {
        "packageType": "Image",
        "imageUri": image["image"],
        "imageConfig": {"command": [it.command]},
        "architectures": [image["architecture"]],
        "memorySize": image["memoryMegabytes"],
        "timeout": it.timeout_seconds,
        "environment": {"variables": it.environment},
        "roleRef": owner.reference(f"{purpose}-role"),
        "tracingConfig": {"mode": "Active" if spec["tracing"] else "PassThrough"},
    }
    return {
        f"{purpose}-log": owner.managed(
            "cloudwatchlogs",
            "Group",
            f"{purpose}-log",
            {"retentionInDays": spec["logs"]["retentionDays"]},
            external_name=log_group,
        ),
        **role(
            owner,
            f"{purpose}-",
            role_name(name, "-", owner.region),
            assumed_by("lambda.amazonaws.com"),
            *it.statements,
            log,
            trace(),
        ),
        f"{purpose}-function": owner.managed("lambda", "Function", purpose, settings, external_name=name),
        f"{purpose}-errors": alarm(
            owner,
            f"{purpose}-errors",
            Metric("AWS/Lambda", "Errors", {"FunctionName": name}, "Sum"),
            0,
            f"Calls of the function {name} failed: its log is {log_group}.",
            spec["alarms"].get("topicArn"),
            f"{name}-errors",
        ),
    }
