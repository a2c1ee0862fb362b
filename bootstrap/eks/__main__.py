"""Makes a cluster on AWS and hands it over to git, or takes it away.

Each step looks before it does anything: after an interruption, the same command goes on from there.
Exit status: 0 when all is done, 1 when a step failed, 2 when something has to be mended first, 3 when people said no.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from bootstrap.eks import handover, prerequisites, step
from bootstrap.eks.aws import Aws
from bootstrap.eks.down import Teardown
from bootstrap.eks.leftovers import leftovers
from bootstrap.eks.step import Step, StepError
from bootstrap.eks.target import Target
from bootstrap.eks.up import Bootstrap
from generator.load import ConfigError, load

ROOT = Path(__file__).resolve().parents[2]


def main(
    arguments: Sequence[str] | None = None,
    repository: Path = ROOT,
    poll_seconds: float = 10,
    ask: Callable[[str], str] = input,
) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        target = _target(repository, options.cluster, poll_seconds)
        aws = Aws(target.config.cluster.region, target.config.cluster_name)
        made = Bootstrap(target, aws, _say)
        if options.command == "up":
            return _up(options, made, ask)
        return _down(options, made, ask)
    except ConfigError as error:
        _complain(*error.messages)
        return 2
    except KeyboardInterrupt:
        _complain("interrupted: the same command goes on from here")
        return 130
    except (StepError, BotoCoreError, ClientError, OSError) as error:
        _complain(str(error), "The same command goes on from here.")
        return 1


def _up(options: argparse.Namespace, made: Bootstrap, ask: Callable[[str], str]) -> int:
    target, aws = made.target, made.aws
    if found := list(prerequisites.problems(target, aws)):
        _complain(*found, "Nothing was done.")
        return 2
    _say(*(f"warning: {text}" for text in prerequisites.warnings(target, aws)))
    status = _go(options, made.steps(), f"Make what is missing in the account {target.config.cluster.account_id}?", ask)
    if status is None:
        _say("", *handover.next_steps(target))
    return status or 0


def _down(options: argparse.Namespace, made: Bootstrap, ask: Callable[[str], str]) -> int:
    config = made.target.config
    found = made.aws.account_id()
    if found != config.cluster.account_id:
        _complain(f"these are credentials of the account {found}, and config.yaml says {config.cluster.account_id}")
        return 2
    if config.cluster.outputs.deletion_policy == "Delete" or options.delete_pictures:
        _say("Pictures and jobs go with the cluster.")
    else:
        _say("Pictures and jobs stay in their bucket (`--delete-pictures` deletes them, too).")
    status = _go(options, Teardown(made, options.delete_pictures).steps(), f"Delete {config.cluster_name}?", ask)
    if status is None:
        left = list(leftovers(made.target, made.aws))
        _say("", *(["What is left:", *left] if left else ["Nothing is left."]))
    return status or 0


def _go(options: argparse.Namespace, steps: list[Step], question: str, ask: Callable[[str], str]) -> int | None:
    """Show the steps, ask, and do them; return the exit status if that is all."""
    pending = step.plan(steps, _say)
    if options.dry_run:
        return 0
    if pending and not options.yes and ask(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        _complain("Nothing was done.")
        return 3
    step.run(steps, _say)
    return None


def _target(repository: Path, cluster: str, poll_seconds: float) -> Target:
    file = repository / "clusters" / cluster / "config.yaml"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"clusters/{cluster}/config.yaml cannot be read: {error.strerror}"]) from error
    return Target(repository, cluster, load(text, f"clusters/{cluster}/config.yaml").config, poll_seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bootstrap.eks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (("up", "make a cluster and hand it over to git"), ("down", "take a cluster away")):
        command = commands.add_parser(name, help=purpose, description=purpose)
        command.add_argument("cluster", help="name of its folder below clusters/")
        command.add_argument("--dry-run", action="store_true", help="change nothing, and show what would be done")
        command.add_argument("--yes", action="store_true", help="do not ask")
        if name == "down":
            command.add_argument("--delete-pictures", action="store_true", help="delete the output bucket, too")
    return parser


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


def _complain(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
