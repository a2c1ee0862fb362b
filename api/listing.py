"""`GET /v1/jobs`: all jobs, newest first, a page at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pydantic import BaseModel, Field

from api.index import Index, cursor
from api.record import Records, job_id
from api.state import JobState, Links, States
from contract import keys

Status = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]

LONGEST_PAGE = 100
# Lambda answers with 6 MB at most, in which each character may be escaped; a job's context may be a quarter of one.
LARGEST_PAGE_BYTES = 2_500_000
# How many jobs are looked at for one page when a filter leaves most of them out.
MOST_LOOKED_AT = 200


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobState]
    cursor: str | None = Field(None, description="Give it back for the next page; null when there is none.")


class Listing:
    """Lists jobs. A page costs one look into the index, and for each job one read if it has ended, else three."""

    def __init__(self, index: Index, records: Records, states: States) -> None:
        self._index = index
        self._records = records
        self._states = states
        self._readers = ThreadPoolExecutor(max_workers=24, thread_name_prefix="listing")

    def page(
        self, after: str, size: int, status: Status | None, runtime: str | None, links: Callable[[str], Links]
    ) -> JobList:
        """Return up to `size` jobs behind an entry of the index; perhaps fewer, though there are more.

        A filter leaves some out, and a page is not longer than Lambda can answer.

        Args:
            after: The entry, or "" for the first page.
            size: How many jobs, at most 100.
            status: Only jobs with this status.
            runtime: Only jobs of this runtime.
            links: Returns the links of a job, by its id.
        """
        filtered = status is not None or runtime is not None
        found: list[JobState] = []
        looked_at = size_bytes = 0
        while True:
            entries = self._index.page(after, LONGEST_PAGE if filtered else size)
            looked_at += len(entries.entries)
            states = self._readers.map(lambda entry: self._state(keys.indexed(entry), links), entries.entries)
            for entry, state in zip(entries.entries, states, strict=True):
                if state and status in {None, state.status} and runtime in {None, state.runtime}:
                    size_bytes += len(state.model_dump_json().encode())
                    if found and size_bytes > LARGEST_PAGE_BYTES:
                        return JobList(jobs=found, cursor=cursor(after))
                    found.append(state)
                    if len(found) == size:
                        more = entries.more or entry != entries.entries[-1]
                        return JobList(jobs=found, cursor=cursor(entry) if more else None)
                after = entry
            if not entries.more:
                return JobList(jobs=found)
            if looked_at >= MOST_LOOKED_AT:
                return JobList(jobs=found, cursor=cursor(after))

    def _state(self, key: str, links: Callable[[str], Links]) -> JobState | None:
        """Return the state of a job, or None when its record has expired before its entry in the index."""
        own = links(job_id(key))
        if state := self._states.ended(key, own):
            return state
        record = self._records.at(key)
        if record is None:
            return None
        state = self._states.state(record, own)
        if state.progress:
            state.progress.preview = None  # a picture each would make pages too large
        return state
