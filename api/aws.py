from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from types_boto3_s3 import S3Client
    from types_boto3_sns import SNSClient
    from types_boto3_sqs import SQSClient

# As many connections as there are threads that may use them, and an answer well before API Gateway gives up at 29 s.
_CONFIG = Config(
    max_pool_connections=80,
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
)


@dataclass(frozen=True)
class Clients:
    """The AWS services that the API talks to, and as whom."""

    s3: "S3Client"
    sns: "SNSClient"
    sqs: "SQSClient"
    credentials: "Credentials | None"


def connect() -> Clients:
    """Return clients as the environment describes them (`AWS_REGION`, `AWS_ENDPOINT_URL`, …)."""
    # Links signed the older way do not work in every region.
    signed = _CONFIG.merge(Config(signature_version="s3v4"))
    session = boto3.Session()
    return Clients(
        s3=session.client("s3", config=signed),
        sns=session.client("sns", config=_CONFIG),
        sqs=session.client("sqs", config=_CONFIG),
        credentials=session.get_credentials(),
    )
