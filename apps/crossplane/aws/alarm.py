"""Alarms of CloudWatch, each on one number of one thing."""

from dataclasses import dataclass

from apps.crossplane.aws.owner import Manifest, Owner

PERIOD_SECONDS = 300


@dataclass(frozen=True)
class Metric:
    """A number that a service of AWS counts.

    Attributes:
        namespace, name: CloudWatch's names for the service and the number.
        dimensions: Whose number it is.
        statistic: How the values of five minutes become one: Maximum or Sum.
    """

    namespace: str
    name: str
    dimensions: dict[str, str]
    statistic: str


def alarm(
    owner: Owner, purpose: str, metric: Metric, threshold: int, description: str, topic_arn: str | None, name: str
) -> Manifest:
    """Return the alarm `name` that rings while `metric` is above `threshold`, and tells the topic, if there is one."""
    actions = [topic_arn] if topic_arn else []
    settings = {
        "alarmDescription": description,
        "namespace": metric.namespace,
        "metricName": metric.name,
        "dimensions": metric.dimensions,
        "statistic": metric.statistic,
        "period": PERIOD_SECONDS,
        "evaluationPeriods": 1,
        "comparisonOperator": "GreaterThanThreshold",
        "threshold": threshold,
        # A queue that nobody uses and a function that nobody calls count nothing.
        "treatMissingData": "notBreaching",
        "alarmActions": actions,
        "okActions": actions,
    }
    return owner.managed("cloudwatch", "MetricAlarm", purpose, settings, external_name=name)


def dead_letters(queue: str) -> Metric:
    """Return how many messages the dead-letter queue called `queue` has."""
    return Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": queue}, "Maximum")


def oldest_message(queue: str) -> Metric:
    """Return how many seconds the oldest message has waited in the queue called `queue`."""
    return Metric("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": queue}, "Maximum")
