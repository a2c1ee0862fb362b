"""What people see: tables, a progress bar, and errors."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from .errors import DarkroomError, RefusedError
from .models import Depth, Job, Runtime

# Results go to the standard output, for pipes; all else to the standard error. Prompts may hold square brackets.
out = Console(highlight=False, markup=False, soft_wrap=True)
err = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)

_STYLES = {"succeeded": "green", "failed": "red", "expired": "red", "cancelled": "yellow", "running": "cyan"}


def complain(error: DarkroomError) -> None:
    """Say what went wrong, and each thing that is wrong with a request on a line of its own."""
    if isinstance(error, RefusedError):
        err.print(Text.assemble(("refused:", "red"), " the API does not take this"))
        for violation in error.violations:
            err.print(f"  {violation}")
    else:
        err.print(Text.assemble(("error:", "red"), f" {error}"))


@contextmanager
def following(what: str) -> Iterator[Callable[[Job], None]]:
    """Show a progress bar of a job, and give what tells it how the job fares."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(f"queued: {what}", total=None)

        def watch(job: Job) -> None:
            if job.status == "running" and job.progress:
                step, steps = job.progress.step, job.progress.steps
                told = f"step {step} of {steps}" if step and steps else "running"
                bar.update(task, description=f"{told}: {what}", total=1.0, completed=job.progress.progress)
            else:
                waiting = job.queue.waiting if job.queue else 0
                told = f"queued, about {waiting} waiting" if job.status == "queued" and waiting > 1 else job.status
                bar.update(task, description=f"{told}: {what}", total=None)

        yield watch


def list_jobs(jobs: Iterable[Job]) -> None:
    """Print a line for each job."""
    table = Table(Column("id", no_wrap=True), "status", "runtime", "age", "what", box=None, padding=(0, 2, 0, 0))
    for job in jobs:
        what = job.error.message if job.error and job.status == "failed" else job.prompt
        age = _age(job.created_at) if job.created_at else ""
        table.add_row(job.id, Text(job.status, _STYLES.get(job.status, "")), job.runtime or "", age, Text(_line(what)))
    out.print(table)


def show_job(job: Job) -> None:
    """Print all that people want to know of a job."""
    table = Table("", Column(overflow="fold"), show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("job", job.id)
    table.add_row("status", Text(job.status, _STYLES.get(job.status, "")))
    if job.error:
        table.add_row("reason", Text(job.error.message))
    depth = _depth(job.queue) if job.queue else ""
    progress = f"{job.progress.progress:.0%}" if job.progress else ""
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in job.timings.items())
    for name, value in (
        ("prompt", job.prompt),
        ("runtime", job.runtime),
        ("task", job.task),
        ("queue", depth),
        ("progress", progress),
        ("created", job.created_at and job.created_at.isoformat(timespec="seconds")),
        ("ended", job.finished_at and job.finished_at.isoformat(timespec="seconds")),
        ("took", seconds),
        ("seeds", ", ".join(map(str, job.seeds))),
        ("webhook", job.webhook and f"{job.webhook.status}, {job.webhook.error or ''}".rstrip(", ")),
        *(("image", image.s3) for image in job.images),
    ):
        if value:
            table.add_row(name, Text(str(value)))
    out.print(table)


def list_runtimes(runtimes: Iterable[Runtime]) -> None:
    """Print a line for each runtime."""
    table = Table("runtime", "type", "model", "queue", box=None, padding=(0, 2, 0, 0))
    for each in runtimes:
        model = "any" if each.dynamic else each.model or ""
        table.add_row(each.name, each.type, model, _depth(each.queue) if each.queue else "not known")
    out.print(table)


def _depth(depth: Depth) -> str:
    return f"{depth.waiting} waiting, {depth.taken} at work"


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"


def _age(since: datetime) -> str:
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
