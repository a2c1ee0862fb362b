"""Delivery of webhooks: a queue of the ends of jobs that name one, and a function that tells their receivers."""

import json

from apps.crossplane.apis.inferenceapi.function import Function, function
from apps.crossplane.apis.inferenceapi.names import bucket_name, topic_arn, webhook_secret_name
from apps.crossplane.aws.alarm import alarm, dead_letters
from apps.crossplane.aws.owner import Manifest, Owner, domain
from apps.crossplane.aws.policy import allow
from apps.crossplane.aws.queue import FedQueue, fed_queue

TIMEOUT_SECONDS = 60
# AWS asks for six times the function's time-out. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
VISIBILITY_SECONDS = 6 * TIMEOUT_SECONDS
# Deliveries that fail wait ever longer, for hours at the end; this is longer than all their waits together.
RETENTION_SECONDS = 4 * 24 * 3600
# As many as api/webhooks/delivery.py makes.
MOST_ATTEMPTS = 10
# Receivers that hang hold up so many functions at most.
MOST_AT_ONCE = 10
SECRET_LENGTH = 64


def webhooks(owner: Owner, spec: Manifest) -> dict[str, Manifest]:
    """Return everything that delivers webhooks.

    Args:
        spec: The claim's `spec`.
    """
    queue = webhook_queue(owner)
    mapping = {
        "eventSourceArn": owner.arn("sqs", queue.name),
        "functionNameRef": owner.reference("webhooks"),
        "functionResponseTypes": ["ReportBatchItemFailures"],
        "batchSize": 10,
        "scalingConfig": {"maximumConcurrency": MOST_AT_ONCE},
    }
    return {
        **fed_queue(owner, queue),
        "webhooks-secret": signing_secret(owner),
        **function(owner, spec, deliverer(owner, queue)),
        "webhooks-source": owner.managed("lambda", "EventSourceMapping", "webhooks", mapping),
        "webhooks-dead-letters": alarm(
            owner,
            "webhooks-dead-letters",
            dead_letters(queue.dead_letter_name),
            0,
            f"Webhooks were tried {MOST_ATTEMPTS} times and given up: they are in {queue.dead_letter_name}.",
            spec["alarms"].get("topicArn"),
            queue.dead_letter_name,
        ),
    }


def webhook_queue(owner: Owner) -> FedQueue:
    """Return the queue of webhooks; it has no underscore, so it is no runtime's."""
    return FedQueue(
        name=f"{owner.name}-webhooks",
        dead_letter_name=f"{owner.name}-webhooks-dead-letter",
        topic_arn=topic_arn(owner, "output"),
        filter_policy={"webhook": ["true"]},
        visibility_timeout_seconds=VISIBILITY_SECONDS,
        retention_seconds=RETENTION_SECONDS,
        max_receive_count=MOST_ATTEMPTS,
        prefix="webhooks-",
    )


def deliverer(owner: Owner, queue: FedQueue) -> Function:
    """Return the function that reads the queue and tells the receivers."""
    outputs = bucket_name(owner, "outputs")
    arn = owner.arn("sqs", queue.name)
    secret = owner.arn("secretsmanager", f"secret:{webhook_secret_name(owner)}-??????")
    statements = [
        allow(
            "Receive",
            ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
            arn,
        ),
        allow("Look", ["s3:ListBucket"], owner.bucket_arn(outputs)),
        # A webhook has the same links to pictures as the job API's answer.
        allow("Links", ["s3:GetObject"], owner.bucket_arn(outputs, "*")),
        allow("Records", ["s3:PutObject"], owner.bucket_arn(outputs, "jobs/*")),
        allow("Sign", ["secretsmanager:GetSecretValue"], secret),
    ]
    host = f"sqs.{owner.region}.{domain(owner.region)}"
    environment = {
        "S3_OUTPUT_BUCKET": outputs,
        "WEBHOOK_QUEUE_URL": f"https://{host}/{owner.account_id}/{queue.name}",
        "WEBHOOK_SECRET_ID": webhook_secret_name(owner),
    }
    return Function("webhooks", "api.webhooks.handler", environment, TIMEOUT_SECONDS, statements)


def signing_secret(owner: Owner) -> Manifest:
    """Return the secret that webhooks are signed with, which AWS draws and nobody else ever has in hand.

    The provider's own kind wants the value from somebody; AWS's Cloud Control API draws one. Letters and digits, a
    multiple of four of them, are Base64, as the secrets of Standard Webhooks are.
    """
    state = {
        "Name": webhook_secret_name(owner),
        "Description": f"Signs the webhooks of the InferenceAPI {owner.name}; receivers check them with it.",
        "GenerateSecretString": {"PasswordLength": SECRET_LENGTH, "ExcludePunctuation": True},
        "Tags": [{"Key": key, "Value": value} for key, value in sorted(owner.tags.items())],
    }
    settings = {"typeName": "AWS::SecretsManager::Secret", "desiredState": json.dumps(state, sort_keys=True)}
    return owner.managed("cloudcontrol", "Resource", "webhooks-secret", settings)
