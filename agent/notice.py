"""Notices: what subscribers of the output topic are told."""

import json
from typing import TYPE_CHECKING, Any

from contract.job import Job
from contract.result import Result, callback

if TYPE_CHECKING:
    from types_boto3_sns import SNSClient
    from types_boto3_sns.type_defs import MessageAttributeValueTypeDef


class Notices:
    """The output topic; every method raises botocore's errors.

    Each notice has the attributes `runtime`, `status` (`running`, `completed` or `failed`) and `id`, for filters.
    """

    def __init__(self, sns: "SNSClient", topic_arn: str) -> None:
        self._sns = sns
        self._topic_arn = topic_arn

    def ended(self, result: Result) -> None:
        """Tell how a job ended."""
        self._publish(callback(result), result.runtime, "completed" if result.succeeded else "failed", result.id)

    def running(self, job: Job) -> None:
        """Tell that a job started."""
        message = {"runtime": job.runtime, "id": job.id, "status": "running", "context": job.context}
        self._publish(message, job.runtime, "running", job.id)

    def _publish(self, message: dict[str, Any], runtime: str, status: str, job_id: str) -> None:
        attributes = {"runtime": runtime, "status": status, "id": job_id}
        self._sns.publish(
            TopicArn=self._topic_arn,
            Message=json.dumps(message, ensure_ascii=False),
            MessageAttributes={name: _string(value) for name, value in attributes.items()},
        )


def _string(value: str) -> "MessageAttributeValueTypeDef":
    return {"DataType": "String", "StringValue": value}
