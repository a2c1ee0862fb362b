"""Reconciliation of notes that no server can do anything about: they neither wait for ever nor keep others waiting."""

import json
from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from api.outbox import Note, Outbox
from api.service import Service, assemble
from contract import keys
from contract.job import Job, Task, encode
from tests.api.conftest import BUCKET, RUNTIMES, Platform


def service(platform: Platform) -> Service:
    return assemble(platform.settings.model_copy(update={"reconcile_grace_seconds": -60}), platform.aws)


def note(platform: Platform, runtime: str, created_at: datetime) -> None:
    """Leave what a process leaves that dies before it records a job."""
    job = Job("mine", runtime, Task.TEXT_TO_IMAGE, {"prompt": "x"}, created_at=created_at)
    document = {"message": json.loads(encode(job)), "digest": "0" * 64, "created_at": created_at.isoformat()}
    Outbox(platform.aws, BUCKET).put(Note(job.key, document, job.content))


def notes(platform: Platform) -> int:
    return platform.aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{keys.OUTBOX}/")["KeyCount"]


def test_a_job_waits_for_its_runtime_to_come_back(platform: Platform) -> None:
    note(platform, "away", datetime.now(UTC))
    assert service(platform).reconciler.run() == {"waits": 1}
    platform.publish_runtimes([*RUNTIMES, {"name": "away", "type": "sdwebui"}])
    assert service(platform).reconciler.run() == {"published": 1}
    assert notes(platform) == 0


def test_a_job_whose_runtime_does_not_come_back_is_given_up_when_its_time_is_over(platform: Platform) -> None:
    note(platform, "away", datetime.now(UTC) - timedelta(days=14))
    with capture_logs() as logs:
        assert service(platform).reconciler.run() == {"lost": 1}
    assert [line["event"] for line in logs] == ["job given up: its runtime is gone", "reconciled"]
    assert notes(platform) == 0
    state = platform.api.get("/v1/jobs/mine").json()
    assert (state["status"], state["error"]["code"]) == ("expired", "expired")


def test_a_note_that_nobody_understands_keeps_no_other_from_its_end(platform: Platform) -> None:
    platform.aws.s3.put_object(Bucket=BUCKET, Key=f"{keys.OUTBOX}/0", Body=b"nonsense")
    note(platform, "tiny", datetime.now(UTC))
    assert service(platform).reconciler.run() == {"failed": 1, "published": 1}
    assert [job.id for job in platform.delivered()["tiny"]] == ["mine"]
