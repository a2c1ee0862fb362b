"""A queue that is fed by a topic, with everything that goes with it."""

import json
from dataclasses import dataclass

from apps.crossplane.aws.owner import Manifest, Owner
from apps.crossplane.aws.policy import allow, only_over_tls, policy

# The longest that SQS keeps a message: time to look at what failed.
DEAD_LETTER_RETENTION_SECONDS = 14 * 24 * 3600


@dataclass(frozen=True)
class FedQueue:
    """A queue, its dead-letter queue, and the subscription that feeds it.

    Attributes:
        name, dead_letter_name: Names in AWS.
        topic_arn: The topic that feeds it, and the only one who may send to it.
        filter_policy: What the message attributes must be for a message to come.
        visibility_timeout_seconds: How long a received message is nobody else's.
        retention_seconds: How long a message waits at most.
        max_receive_count: How often a message is received before it goes to the dead-letter queue.
        prefix: Starts the composition's names for the parts.
    """

    name: str
    dead_letter_name: str
    topic_arn: str
    filter_policy: dict[str, list[str]]
    visibility_timeout_seconds: int
    retention_seconds: int
    max_receive_count: int
    prefix: str = ""


def fed_queue(owner: Owner, queue: FedQueue) -> dict[str, Manifest]:
    """Return all that the queue consists of.

    Both queues encrypt by SQS's own key: SNS may not use the keys of KMS that AWS manages, so a queue with one of those
    would silently get nothing.
    """
    arn, dead_letter_arn = owner.arn("sqs", queue.name), owner.arn("sqs", queue.dead_letter_name)
    from_the_topic = allow(
        "Topic",
        ["sqs:SendMessage"],
        arn,
        Principal={"Service": "sns.amazonaws.com"},
        Condition={"ArnEquals": {"aws:SourceArn": queue.topic_arn}},
    )
    parts = {
        "dead-letter-queue": _queue(
            owner,
            f"{queue.prefix}dead-letter-queue",
            {
                "name": queue.dead_letter_name,
                "messageRetentionSeconds": DEAD_LETTER_RETENTION_SECONDS,
                "redriveAllowPolicy": json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [arn]}),
            },
        ),
        "queue": _queue(
            owner,
            f"{queue.prefix}queue",
            {
                "name": queue.name,
                "visibilityTimeoutSeconds": queue.visibility_timeout_seconds,
                "messageRetentionSeconds": queue.retention_seconds,
                "receiveWaitTimeSeconds": 20,
                "redrivePolicy": json.dumps(
                    {"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": queue.max_receive_count}
                ),
            },
        ),
        "dead-letter-queue-policy": _policy(
            owner, f"{queue.prefix}dead-letter-queue", policy(only_over_tls("sqs:*", dead_letter_arn))
        ),
        "queue-policy": _policy(owner, f"{queue.prefix}queue", policy(from_the_topic, only_over_tls("sqs:*", arn))),
        # The envelope stays on (no raw delivery), since agents of the guidance unpack it.
        "subscription": owner.managed(
            "sns",
            "TopicSubscription",
            f"{queue.prefix}queue",
            {
                "topicArn": queue.topic_arn,
                "protocol": "sqs",
                "endpoint": arn,
                "filterPolicyScope": "MessageAttributes",
                "filterPolicy": json.dumps(queue.filter_policy),
                "rawMessageDelivery": False,
            },
        ),
    }
    return {f"{queue.prefix}{key}": manifest for key, manifest in parts.items()}


def _queue(owner: Owner, purpose: str, settings: Manifest) -> Manifest:
    return owner.managed("sqs", "Queue", purpose, {**settings, "sqsManagedSseEnabled": True})


def _policy(owner: Owner, purpose: str, document: str) -> Manifest:
    settings = {"policy": document, "queueUrlRef": owner.reference(purpose)}
    return owner.managed("sqs", "QueuePolicy", purpose, settings)
