"""Where objects live in S3: a job's in the output bucket, the routing table in the configuration bucket.

Two trees: `jobs/<key>/` is the job's record; `<prefix>/<id>/` holds what the client asked for, under the names that
the guidance's clients know.
"""

from urllib.parse import quote

JOBS = "jobs"
# In the configuration bucket: which runtimes there are, written by the composition, read by the API.
RUNTIMES = "runtimes.json"

JOB = "job.json"
CONTENT = "content.json"
STARTED = "started.json"
PROGRESS = "progress.json"
RESULT = "result.json"


def record_name(job_id: str) -> str:
    """Return what names of records of jobs with this id start with: the id itself, where it is a plain one.

    Old forms allow other ids, too; "~" separates an id from what follows it, and stands in none.
    """
    return quote(job_id, safe="").replace("~", "%7E")


def record(key: str, name: str = "") -> str:
    """Return the S3 key of the object `name` in the record of the job `key`, or the record's folder without a name."""
    return f"{JOBS}/{key}/{name}"


def folder(prefix: str, job_id: str) -> str:
    """Return the folder of a job's outputs, without a slash at its end: `<prefix>/<id>`, or `<id>` without a prefix."""
    return f"{prefix}/{job_id}" if prefix else job_id


def url(bucket: str, key: str) -> str:
    """Return the `s3://` URL that clients of the guidance are given."""
    return f"s3://{bucket}/{key}"
