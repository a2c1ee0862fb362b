"""Notices: what subscribers of the output topic are told."""

import json
from typing import TYPE_CHECKING, Any

from contract.job import Job
from contract.result import Result, attributes, callback

if TYPE_CHECKING:
    from types_boto3_sns import SNSClient
    from types_boto3_sns.type_defs import MessageAttributeValueTypeDef


class Notices:
    """The output topic; every method raises botocore's errors.

    Each notice has attributes for filters: those of `contract.result.attributes`; a start has the status `running`.
    """

    def __init__(self, sns: "SNSClient", topic_arn: str) -> None:
        self._sns = sns
        self._topic_arn = topic_arn

    def ended(self, result: Result, *, webhook: bool = False) -> None:
        """Tell how a job ended; `webhook` says that the job named one."""
        self._publish(callback(result), attributes(result, webhook=webhook))

    def running(self, job: Job) -> None:
        """Tell that a job started."""
        message = {"runtime": job.runtime, "id": job.id, "status": "running", "context": job.context}
        self._publish(message, {"runtime": job.runtime, "status": "running", "id": job.id, "key": job.key})

    def _publish(self, message: dict[str, Any], told: dict[str, str]) -> None:
        self._sns.publish(
            TopicArn=self._topic_arn,
            Message=json.dumps(message, ensure_ascii=False),
            MessageAttributes={name: _string(value) for name, value in told.items()},
        )


def _string(value: str) -> "MessageAttributeValueTypeDef":
    return {"DataType": "String", "StringValue": value}
