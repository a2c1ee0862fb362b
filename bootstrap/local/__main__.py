"""`python -m bootstrap.local`: the whole service on this machine, and a picture to show that it works."""

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bootstrap.local import demo
from bootstrap.local.admission import InvalidClaimError
from bootstrap.local.cluster import Change, LocalCluster
from bootstrap.local.compositions import CompositionError
from bootstrap.local.git import GitError
from bootstrap.local.programs import Death, NotReadyError
from bootstrap.local.runtimes import UnusableClusterError

# What people can mend; everything else is a bug, and shows where.
PROBLEMS = (
    GitError,
    UnusableClusterError,
    InvalidClaimError,
    CompositionError,
    NotReadyError,
    demo.DemoError,
    BotoCoreError,
    ClientError,
    OSError,
)
FOLLOW_SECONDS = 0.5
PROMPT = "a red circle on a blue background"

# Names, paths, prompts and logs may hold square brackets.
console = Console(highlight=False, soft_wrap=True, markup=False)


def main() -> int:
    """Run until interrupted, or with `--once` until there is a picture; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bootstrap.local", description=__doc__)
    parser.add_argument("--cluster", default="clusters/local", help="the cluster's folder (default: %(default)s)")
    parser.add_argument("--prompt", help=f"what to draw (default: the environment variable PROMPT, or {PROMPT!r})")
    parser.add_argument("--once", action="store_true", help="stop everything when the picture is there")
    arguments = parser.parse_args()

    repository = Path(__file__).resolve().parents[2]
    run = repository / ".run" / Path(arguments.cluster).name
    # Also where a shell has SIGINT ignored, as for a job in the background.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with _alone(run), _running(LocalCluster(repository, arguments.cluster.rstrip("/"), run)) as cluster:
            _serve(cluster, run, arguments.prompt or os.environ.get("PROMPT") or PROMPT, once=arguments.once)
    except KeyboardInterrupt:
        return 130 if arguments.once else 0
    except PROBLEMS as error:
        _complain("error", error)
        return 1
    return 0


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """See to it that logs and pictures in the folder `run` are of one demo at a time."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise UnusableClusterError(
                f"this cluster runs already, as process {lock.read()}: stop that first, or use another clone"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _running(cluster: LocalCluster) -> Iterator[LocalCluster]:
    try:
        yield cluster
    finally:
        try:
            cluster.stop()
        except BaseException:
            cluster.kill()  # interrupted once more: no time to ask
            raise


def _serve(cluster: LocalCluster, run: Path, prompt: str, *, once: bool) -> None:
    with console.status("Starting the cluster"):
        change = cluster.start()
    _tell(change)
    try:
        with console.status("Waiting for the runtimes"):
            cluster.wait_ready()
        _list_endpoints(cluster, run)
        if not once:
            command = f'.venv-client/bin/darkroom run --url {cluster.api} "a yellow star" -o star.png'
            console.print(f"From another terminal: make client && {command}")
            console.print("Ctrl-C stops everything. A commit that changes this cluster is deployed when it is made.")
        print(f"image: {_draw(cluster, prompt, run, once=once)}", flush=True)
    except (NotReadyError, demo.DemoError) as error:
        if once:
            raise
        _complain("no picture", error)
    while not once:
        time.sleep(FOLLOW_SECONDS)
        _report(cluster.check())
        _follow(cluster, run)


def _draw(cluster: LocalCluster, prompt: str, run: Path, *, once: bool) -> Path:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("queued", total=1.0)

        def check() -> None:
            deaths = cluster.check()
            _report(deaths)
            if deaths and once:
                raise demo.DemoError(f"{deaths[0].name} died while the picture was drawn")

        def show(status: str, progress: float) -> None:
            bar.update(task, description=f"{status}: {prompt}", completed=progress)

        job = demo.submit(cluster.api, prompt)
        return demo.save(demo.watch(cluster.api, job, show, check), run / "pictures")


def _follow(cluster: LocalCluster, run: Path) -> None:
    try:
        if change := cluster.follow():
            _tell(change)
            if change.added or change.removed:
                _list_endpoints(cluster, run)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a commit, what runs goes on
        _complain("not deployed", error)


def _tell(change: Change) -> None:
    console.print(f"Deployed commit {change.commit[:12]}")
    for sign, style, names in (
        ("-", "red", change.removed),
        ("+", "green", change.added),
        ("~", "cyan", change.changed),
    ):
        for name in names:
            console.print(Text.assemble("  ", (sign, style), f" runtime {name}"))
    for name, why in change.not_started.items():
        console.print(Text.assemble("  ", ("!", "yellow"), f" runtime {name} is not started: {why}"))
    if change.stale:
        told = " config.yaml says something else than what is rendered: run `make render` and commit"
        console.print(Text.assemble("  ", ("!", "yellow"), told))


def _report(deaths: list[Death]) -> None:
    for death in deaths:
        told = f"{death.name} ended with code {death.code}"
        console.print(Text.assemble((told, "red"), f"; it starts again in {death.restart_seconds:g} s"))
        for line in death.last_lines:
            console.print(f"  {line}")
        console.print(f"  (all of it: {death.log})")


def _complain(what: str, error: Exception) -> None:
    console.print(Text.assemble((f"{what}:", "red"), f" {error or type(error).__name__}"))


def _list_endpoints(cluster: LocalCluster, run: Path) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, url in cluster.endpoints.items():
        table.add_row(name, url)
    table.add_row("logs, pictures", str(run))
    console.print(table)
    console.print(Text.assemble(("not run here:", "yellow"), f" {', '.join(cluster.not_run)}"))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
