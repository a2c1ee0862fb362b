"""The client: what the API can do, as methods."""

import mimetypes
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from .errors import DarkroomError, JobFailedError
from .models import Accepted, Image, Job, JobList, Runtime, Runtimes, Status, Submission, Upload, UploadRequest
from .transport import Transport

# How long the API itself waits for a job's end before it answers.
LONG_POLL_SECONDS = 20.0
PAGE = 100


class Client:
    """A job API. Use it in a `with` statement, or close it.

        with Client("http://127.0.0.1:8000") as darkroom:
            job = darkroom.wait(darkroom.submit({"prompt": "a red circle"}).id)
            darkroom.save(job, Path("out.png"))

    Args:
        url: Where the API is, with its stage if it has one.
        key: The API key, where the API asks for one.
        timeout_seconds: How long one answer may take.
    """

    def __init__(self, url: str, key: str | None = None, timeout_seconds: float = 60) -> None:
        self._transport = Transport(url, key, timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._transport.close()

    def submit(self, input: dict[str, Any], **asked: Any) -> Accepted:  # noqa: A002 - the API's name
        """Submit a job. A request whose answer is lost is sent again under the same id, and done once.

        Args:
            input: The inference server's own request: an A1111 body, or a ComfyUI workflow.
            **asked: The other fields of `Submission`: `runtime`, `model`, `task`, `id`, `webhook`, …

        Raises:
            RefusedError: The API says what is wrong with it.
            DarkroomError: Something else went wrong.
        """
        submission = Submission(**{"id": secrets.token_hex(12), **asked, "input": input})
        body = submission.model_dump(exclude_none=True, exclude_defaults=True) | {"input": input}
        return Accepted.model_validate_json(self._transport.ask("POST", "/v1/jobs", json=body).content)

    def job(self, job_id: str, wait_seconds: float = 0) -> Job:
        """Return how a job fares; with `wait_seconds` (at most 25) as soon as it has ended, or when they are over.

        Raises:
            DarkroomError: There is no such job, or something else went wrong.
        """
        query = {"wait": wait_seconds} if wait_seconds else None
        return Job.model_validate_json(self._transport.ask("GET", _path(job_id), params=query).content)

    def wait(self, job_id: str, watch: Callable[[Job], object] | None = None, every_seconds: float = 0.5) -> Job:
        """Return a job as soon as it has ended.

        Args:
            watch: Called with the job each time it was looked at, every so many seconds. Without it the API is asked
                to wait, which costs fewer requests.

        Raises:
            JobFailedError: It did not succeed.
            DarkroomError: Something else went wrong.
        """
        while True:
            job = self.job(job_id, 0 if watch else LONG_POLL_SECONDS)
            if watch:
                watch(job)
            if job.has_ended:
                break
            if watch:
                time.sleep(every_seconds)
        if job.status != "succeeded":
            code, reason = (job.error.code, job.error.message) if job.error else ("", "")
            raise JobFailedError(job.id, job.status, code, reason)
        return job

    def jobs(self, status: Status | None = None, runtime: str | None = None) -> Iterator[Job]:
        """Yield all jobs, newest first, asking for the next page when it is needed.

        Raises:
            DarkroomError: Something went wrong.
        """
        query: dict[str, Any] = {"limit": PAGE}
        query |= {name: value for name, value in (("status", status), ("runtime", runtime)) if value}
        while True:
            page = JobList.model_validate_json(self._transport.ask("GET", "/v1/jobs", params=query).content)
            yield from page.jobs
            if page.cursor is None:
                return
            query["cursor"] = page.cursor

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: one that waits ends at once, one that runs soon, one that has ended stays as it is.

        Raises:
            DarkroomError: There is no such job, or something else went wrong.
        """
        return Job.model_validate_json(self._transport.ask("DELETE", _path(job_id)).content)

    def runtimes(self) -> tuple[Runtime, ...]:
        """Return the runtimes that jobs can ask for.

        Raises:
            DarkroomError: Something went wrong.
        """
        return Runtimes.model_validate_json(self._transport.ask("GET", "/v1/runtimes").content).runtimes

    def upload(self, path: Path) -> str:
        """Put a file where jobs can read it, and return what they call it (`s3://…`).

        Raises:
            DarkroomError: It is no image, video or sound, or something else went wrong.
            OSError: It cannot be read.
        """
        content_type = mimetypes.guess_type(path.name)[0]
        if content_type is None or content_type.partition("/")[0] not in {"image", "video", "audio"}:
            raise DarkroomError(f"{path} is no image, video or sound, to judge by its name")
        data = path.read_bytes()
        asked = UploadRequest(content_type=content_type, size=len(data)).model_dump()
        place = Upload.model_validate_json(self._transport.ask("POST", "/v1/uploads", json=asked).content)
        self._transport.transfer(place.method, place.url, headers=place.headers, content=data)
        return place.s3

    def download(self, image: Image) -> bytes:
        """Return a picture.

        Raises:
            DarkroomError: There is no link to it, or something else went wrong.
        """
        if image.url is None:
            raise DarkroomError(f"there is no link to {image.s3}: fetch it from the bucket")
        return self._transport.transfer("GET", image.url).content

    def save(self, job: Job, path: Path) -> list[Path]:
        """Write a job's pictures into files, and return which: `path`, and for several `path` with numbers.

        Where `path` has no extension, each gets its picture's own.

        Raises:
            DarkroomError: A picture cannot be fetched.
            OSError: A file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        saved = []
        for number, image in enumerate(job.images, 1):
            suffix = path.suffix or Path(urlsplit(image.s3).path).suffix
            name = path.stem if len(job.images) == 1 else f"{path.stem}-{number}"
            target = path.with_name(name + suffix)
            target.write_bytes(self.download(image))
            saved.append(target)
        return saved


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
