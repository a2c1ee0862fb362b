"""Webhooks: each job that named one is told to it when it ends, signed, and again until it is taken in.

`python -m api.webhooks` delivers from the queue until it is stopped; `handler` is the same as a Lambda function, which
the queue calls. Neither has anything to do with a GPU: a slow receiver makes nobody wait but itself.
"""

from typing import Any


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Deliver a batch from SQS, and return what is to be tried again."""
    from api.webhooks.wiring import worker
    from api.webhooks.worker import Notice

    records = event["Records"]
    notices = [
        Notice.of(
            record["receiptHandle"],
            record["body"],
            record.get("messageAttributes", {}),
            record["attributes"]["ApproximateReceiveCount"],
        )
        for record in records
    ]
    done = worker().batch(notices)
    failed = [record["messageId"] for record, each in zip(records, done, strict=True) if not each]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
