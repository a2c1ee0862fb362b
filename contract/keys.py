"""Where objects live in S3: a job's in the output bucket, the routing table in the configuration bucket.

`jobs/<key>/` is a job's record and `index/` lists the records, newest first; `outbox/` holds what is about to be
published; `uploads/` what clients uploaded; `<prefix>/<id>/` what they asked for, under the names that the guidance's
clients know.
"""

from datetime import datetime
from urllib.parse import quote

JOBS = "jobs"
INDEX = "index"
OUTBOX = "outbox"
UPLOADS = "uploads"
# No job's outputs go there.
RESERVED = frozenset({JOBS, INDEX, OUTBOX, UPLOADS})
# In the configuration bucket: which runtimes there are, written by the composition, read by the API.
RUNTIMES = "runtimes.json"

JOB = "job.json"
CONTENT = "content.json"
STARTED = "started.json"
PROGRESS = "progress.json"
RESULT = "result.json"
# How its webhook fares; overwritten with each attempt.
WEBHOOK = "webhook.json"
# There once somebody wants the job to end: it is not started any more, or interrupted.
CANCEL = "cancel.json"

# Milliseconds up to the year 2286: what is left until then sorts the newest first, and has always as many digits.
_INDEX_END_MS = 10**13


def record_name(job_id: str) -> str:
    """Return what names of records of jobs with this id start with: the id itself, where it is a plain one.

    Old forms allow other ids, too; "~" separates an id from what follows it, and stands in none.
    """
    return quote(job_id, safe="").replace("~", "%7E")


def record(key: str, name: str = "") -> str:
    """Return the S3 key of the object `name` in the record of the job `key`, or the record's folder without a name."""
    return f"{JOBS}/{key}/{name}"


def index(created_at: datetime, key: str) -> str:
    """Return the S3 key of the empty object that lists the job `key`: S3 lists keys in order, so the newest first."""
    left_ms = _INDEX_END_MS - 1 - int(created_at.timestamp() * 1000)
    return f"{INDEX}/{left_ms:013d}~{key}"


def indexed(index_key: str) -> str:
    """Return the key of the job that an index entry lists."""
    return index_key.partition("~")[2]


def outbox(key: str, request: str) -> str:
    """Return the S3 key of the note that the job `key` is about to be published as `request` asks, a digest of it."""
    return f"{OUTBOX}/{key}~{request}"


def folder(prefix: str, job_id: str) -> str:
    """Return the folder of a job's outputs, without a slash at its end: `<prefix>/<id>`, or `<id>` without a prefix."""
    return f"{prefix}/{job_id}" if prefix else job_id


def url(bucket: str, key: str) -> str:
    """Return the `s3://` URL that clients of the guidance are given."""
    return f"s3://{bucket}/{key}"
