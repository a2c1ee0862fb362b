"""The command line: `darkroom run "a red circle" -o out.png`."""

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from . import request, terminal
from .client import Client
from .errors import ApiError, DarkroomError, RefusedError
from .models import Job, Status

KEY_VARIABLE = "DARKROOM_API_KEY"
INTERRUPTED = 130

app = typer.Typer(
    name="darkroom",
    help=f"Hand jobs in, pick their pictures up later. An API key is read from {KEY_VARIABLE}.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Url = Annotated[str, typer.Option(envvar="DARKROOM_URL", help="Where the job API is.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job.")]
Json = Annotated[bool, typer.Option("--json", help="Print what the API says, as JSON.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The picture's file, by default the job's id; several are numbered."),
]
LOCAL = "http://127.0.0.1:8000"


@app.command()
def run(
    prompt: Annotated[str, typer.Argument(help="What to draw; nothing with --workflow.")] = "",
    url: Url = LOCAL,
    output: Output = None,
    runtime: Annotated[str | None, typer.Option(help="The runtime to run on.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to draw with.")] = None,
    size: Annotated[str | None, typer.Option(help="In pixels: 512, or 768x512.")] = None,
    steps: Annotated[int | None, typer.Option(help="More of them take longer.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same one draws the same picture.")] = None,
    count: Annotated[int | None, typer.Option(help="How many pictures.")] = None,
    negative: Annotated[str | None, typer.Option(help="What is not to be in the picture.")] = None,
    image: Annotated[Path | None, typer.Option(help="A file to start from.", exists=True, dir_okay=False)] = None,
    strength: Annotated[float | None, typer.Option(help="How much of that may change, from 0 to 1.")] = None,
    given: Annotated[list[str] | None, typer.Option("--input", help="Another field of the input: name=value.")] = None,
    workflow: Annotated[Path | None, typer.Option(help="A ComfyUI workflow in the API format.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the job's id and do not wait.")] = False,
    cancel_on_interrupt: Annotated[bool, typer.Option(help="Cancel the job at Ctrl-C.")] = False,
) -> None:
    """Submit a job, wait for its end, and save its pictures."""
    if bool(prompt) == bool(workflow):
        raise typer.BadParameter("say what to draw, or give a --workflow, and not both")
    with _asking(url) as darkroom:
        try:
            more = request.fields(given or [])
            if workflow:
                body = request.workflow(workflow) | more
            else:
                start = darkroom.upload(image) if image else None
                drawing = request.drawing(
                    prompt,
                    negative=negative,
                    size=size,
                    steps=steps,
                    seed=seed,
                    count=count,
                    image=start,
                    strength=strength,
                )
                body = drawing | more
        except request.UsageError as error:
            raise typer.BadParameter(str(error), param_hint=error.option) from error
        asked: dict[str, Any] = {"context": request.remembered(model, body)}
        asked |= {"runtime": runtime, "model": model, "task": "image-to-image" if image else None}
        job_id = darkroom.submit(body, **asked).id
        if detach:
            terminal.out.print(job_id)
            return
        _collect(darkroom, job_id, prompt or str(workflow), output, cancel=cancel_on_interrupt)


@app.command()
def save(job_id: JobId, url: Url = LOCAL, output: Output = None) -> None:
    """Wait for a job's end, and save its pictures."""
    with _asking(url) as darkroom:
        _collect(darkroom, job_id, job_id, output, cancel=False)


@app.command()
def jobs(
    url: Url = LOCAL,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    status: Annotated[str | None, typer.Option(help="Only those that are queued, running, succeeded, …")] = None,
    runtime: Annotated[str | None, typer.Option(help="Only those of this runtime.")] = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    if status not in (None, *Status.__args__):  # type: ignore[attr-defined]
        raise typer.BadParameter(f"one of {', '.join(Status.__args__)}", param_hint="--status")  # type: ignore[attr-defined]
    with _asking(url) as darkroom:
        found = list(itertools.islice(darkroom.jobs(status, runtime), limit))  # type: ignore[arg-type] # just checked
    if as_json:
        _print_json([job.model_dump(mode="json") for job in found])
    else:
        terminal.list_jobs(found)


@app.command()
def show(job_id: JobId, url: Url = LOCAL, as_json: Json = False) -> None:
    """Show how a job fares."""
    with _asking(url) as darkroom:
        job = darkroom.job(job_id)
    if as_json:
        _print_json(job.model_dump(mode="json"))
    else:
        terminal.show_job(job)


@app.command()
def cancel(job_id: JobId, url: Url = LOCAL) -> None:
    """Cancel a job."""
    with _asking(url) as darkroom:
        job = darkroom.cancel(job_id)
    terminal.out.print(f"{job.id}: {job.status if job.has_ended else 'is being interrupted'}")


@app.command()
def runtimes(url: Url = LOCAL, as_json: Json = False) -> None:
    """List the runtimes, and what waits for each."""
    with _asking(url) as darkroom:
        found = darkroom.runtimes()
    if as_json:
        _print_json([each.model_dump(mode="json") for each in found])
    else:
        terminal.list_runtimes(found)


@contextmanager
def _asking(url: str) -> Iterator[Client]:
    """Give a client; when something goes wrong, say so and exit: 2 for what was asked wrongly, else 1."""
    try:
        with Client(url, os.environ.get(KEY_VARIABLE)) as darkroom:
            yield darkroom
    except RefusedError as error:
        terminal.complain(error)
        raise typer.Exit(2) from error
    except DarkroomError as error:
        terminal.complain(error)
        raise typer.Exit(1) from error
    except ValidationError as error:
        terminal.complain(ApiError(200, f"what {url} answers is not what the job API says: {error}"))
        raise typer.Exit(1) from error
    except OSError as error:
        terminal.complain(DarkroomError(f"{error.filename or 'a file'}: {error.strerror}"))
        raise typer.Exit(1) from error


def _collect(darkroom: Client, job_id: str, what: str, output: Path | None, *, cancel: bool) -> None:
    try:
        with terminal.following(what) as watch:
            job: Job = darkroom.wait(job_id, watch)
    except KeyboardInterrupt as interrupt:
        if cancel:
            darkroom.cancel(job_id)
            terminal.err.print(f"job {job_id} is cancelled")
        else:
            terminal.err.print(f"job {job_id} goes on: `darkroom save {job_id}` or `darkroom cancel {job_id}`")
        raise typer.Exit(INTERRUPTED) from interrupt
    for path in darkroom.save(job, output or Path(job_id)):
        terminal.out.print(str(path))
    if not job.images:
        terminal.err.print(f"job {job_id} succeeded without a picture")


def _print_json(document: object) -> None:
    # Not through rich, which would colour it.
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
