"""`python -m bootstrap.local`: the whole service on this machine, and a picture to show that it works."""

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import requests
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bootstrap.local import demo
from bootstrap.local.admission import InvalidClaimError
from bootstrap.local.cluster import Change, LocalCluster, UnusableClusterError
from bootstrap.local.compositions import CompositionError
from bootstrap.local.git import GitError
from bootstrap.local.programs import Death, NotReadyError

PROBLEMS = (
    GitError,
    UnusableClusterError,
    InvalidClaimError,
    CompositionError,
    NotReadyError,
    demo.DemoError,
    requests.RequestException,
    BotoCoreError,
    ClientError,
)
FOLLOW_SECONDS = 0.5

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run until interrupted, or with `--once` until there is a picture; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bootstrap.local", description=__doc__)
    parser.add_argument("--cluster", default="clusters/local", help="the cluster's folder (default: %(default)s)")
    parser.add_argument("--prompt", default="a red circle on a blue background", help="what to draw")
    parser.add_argument("--once", action="store_true", help="stop everything when the picture is there")
    arguments = parser.parse_args()

    repository = Path(__file__).resolve().parents[2]
    run = repository / ".run" / Path(arguments.cluster).name
    cluster = LocalCluster(repository, arguments.cluster.rstrip("/"), run)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)  # also where a shell has it ignored, as for a job in the background
    try:
        with console.status("Starting the cluster"):
            change = cluster.start()
        _tell(change)
        _list_endpoints(cluster, run)
        if not arguments.once:
            console.print("Ctrl-C stops everything. A commit that changes this cluster is deployed when it is made.")
        picture = _draw(cluster, arguments.prompt, run, once=arguments.once)
        print(f"image: {picture}", flush=True)
        while not arguments.once:
            time.sleep(FOLLOW_SECONDS)
            _report(cluster.check())
            _follow(cluster)
    except KeyboardInterrupt:
        if arguments.once:
            return 130
    except PROBLEMS as error:
        console.print(f"[red]error:[/] {error}", markup=True)
        return 1
    finally:
        _stop(cluster, quiet=arguments.once)
    return 0


def _draw(cluster: LocalCluster, prompt: str, run: Path, *, once: bool) -> Path:
    api = cluster.endpoints["API"]
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        job = demo.submit(api, prompt)
        task = bar.add_task("queued", total=1.0)

        def check() -> None:
            deaths = cluster.check()
            _report(deaths)
            if deaths and once:
                raise demo.DemoError(f"{deaths[0].name} died while the picture was drawn")

        def show(status: str, progress: float) -> None:
            bar.update(task, description=f"{status}: {prompt}", completed=progress)

        return demo.save(demo.watch(api, job, show, check), run / "pictures")


def _follow(cluster: LocalCluster) -> None:
    try:
        if change := cluster.follow():
            _tell(change)
    except PROBLEMS as error:
        console.print(f"[red]not deployed:[/] {error}")


def _tell(change: Change) -> None:
    console.print(f"Deployed commit {change.commit[:12]}")
    for name in change.removed:
        console.print(f"  [red]-[/] runtime {name}")
    for name in change.added:
        console.print(f"  [green]+[/] runtime {name}")
    for name, why in change.not_started.items():
        console.print(f"  [yellow]![/] runtime {name} is not started: {why}")


def _report(deaths: list[Death]) -> None:
    for death in deaths:
        console.print(
            f"[red]{death.name} ended with code {death.code}[/]; it starts again in {death.restart_seconds:g} s"
        )
        for line in death.last_lines:
            console.print(f"  {line}", markup=False)
        console.print(f"  (all of it: {death.log})", markup=False)


def _list_endpoints(cluster: LocalCluster, run: Path) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, url in sorted(cluster.endpoints.items()):
        table.add_row(name, url)
    table.add_row("logs, pictures", str(run))
    console.print(table)


def _stop(cluster: LocalCluster, *, quiet: bool) -> None:
    if not quiet:
        console.print("Stopping")
    try:
        cluster.stop()
    except KeyboardInterrupt:
        cluster.kill()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
