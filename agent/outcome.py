"""Outcomes: the result documents of jobs that ended. Pure functions."""

import json
from datetime import UTC, datetime
from typing import Any

from agent.adapter import Output
from agent.errors import JobError
from agent.queue import Delivery
from agent.store import Item, media_type
from agent.work import Work
from contract import keys
from contract.job import Form, Job
from contract.result import Failure, Result


def images(job: Job, output: Output) -> list[Item]:
    """Return each picture of a job under its key, extras last."""
    pictures = enumerate([*output.images, *output.extras], start=1)
    types = ((number, data, *media_type(data)) for number, data in pictures)
    return [Item(job.image_key(number, extension), data, kind) for number, data, extension, kind in types]


def index(work: Work, job: Job) -> list[Item]:
    """Return what lists a job of an older form; `/v1` lists its own."""
    created_at = job.created_at or work.lease.delivery.sent_at
    if job.form is Form.V1 or created_at is None:
        return []
    return [Item(keys.index(created_at, job.key), b"", "application/octet-stream")]


def succeeded(work: Work, job: Job, output: Output, bucket: str) -> Result:
    """Return the result of a job that made `output`."""
    urls = [keys.url(bucket, item.key) for item in images(job, output)]
    pictures = len(output.images)
    return _ended(
        work,
        job,
        bucket,
        status="succeeded",
        images=urls[:pictures],
        masks=urls[pictures:],
        seeds=output.seeds,
        parameters=output.parameters,
    )


def failed(work: Work, job: Job, error: JobError, bucket: str) -> Result:
    """Return the result of a job that `error` ended."""
    return _ended(work, job, bucket, status=error.status, failure=_failure(error))


def malformed(delivery: Delivery, error: JobError, runtime: str) -> Result:
    """Return the result of a message that is no job.

    Its record is named after the message. The client's id for the job is told where the message has one, so that
    whoever waits for the job hears of it.
    """
    form, job_id = _legible(delivery.body)
    return Result(
        id=job_id or delivery.message_id,
        key=f"malformed~{delivery.message_id}",
        runtime=runtime,
        form=form,
        status="failed",
        failure=_failure(error),
        attempt=delivery.attempt,
        created_at=delivery.sent_at,
        finished_at=datetime.now(UTC),
    )


def _ended(work: Work, job: Job, bucket: str, **fields: Any) -> Result:
    delivery = work.lease.delivery
    return Result(
        id=job.id,
        key=job.key,
        runtime=job.runtime,
        task=job.task,
        form=job.form,
        output_url=keys.url(bucket, job.document_key),
        context=job.context,
        attempt=delivery.attempt,
        created_at=job.created_at or delivery.sent_at,
        started_at=work.started_at,
        finished_at=datetime.now(UTC),
        timings=timings(work),
        **fields,
    )


def timings(work: Work) -> dict[str, float]:
    """Return the seconds by step so far, as they are told."""
    return {step: round(seconds, 3) for step, seconds in work.timings.items()}


def _failure(error: JobError) -> Failure:
    return Failure(code=error.code, message=error.message, detail=error.detail)


def _legible(body: str) -> tuple[Form, str | None]:
    """Return the form of a broken message and the id in it, as far as they can be made out."""
    try:
        message = json.loads(body)
        if isinstance(message, dict) and message.get("Type") == "Notification" and "Message" in message:
            message = json.loads(message["Message"])
        if "metadata" in message:
            form = message["metadata"].get("form")
            known = Form(form) if form in list(Form) else Form.V1ALPHA2
            return known, _identifier(message["metadata"].get("id"))
        return Form.SEED, _identifier(message["alwayson_scripts"].get("id_task"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Form.V1ALPHA2, None


def _identifier(value: Any) -> str | None:
    value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value  # as in `contract.job`
    # An SNS attribute has at least one character; what does not print cannot be stored, and thousands help nobody.
    return value if isinstance(value, str) and 0 < len(value) <= 256 and value.isprintable() else None
