"""Writes what is generated from clusters/*/config.yaml, or checks that it is what it should be.

Exit status: 0 when all is well, 1 when --check finds a difference, 2 when a config.yaml or the command is wrong.
"""

import argparse
import gc
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run as a file: Python looks in generator/, not above it

import yaml

from generator import checks, packages, tree
from generator.build import build, build_shared
from generator.composition import Api
from generator.load import ConfigError, load
from generator.model import Config

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "config.yaml"
# The guidance's variable for the same.
CONFIG_VARIABLE = "CDK_CONFIG_PATH"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    folders = [folder.resolve() for folder in options.cluster_dir]
    if strange := [str(folder) for folder in folders if not folder.is_dir() or ROOT not in folder.parents]:
        parser.error(f"not a folder of this repository: {', '.join(strange)}")
    config = options.config or _config_of_environment(len(folders))
    if config:
        if len(folders) != 1:
            parser.error("--config is the file of one cluster: name one CLUSTER_DIR")
        config, own = config.resolve(), folders[0] / CONFIG
        if config != own.resolve() and not (options.check or options.diff):
            # What it made would be left over, or changed, to everybody who runs this without the file.
            option = "--config" if options.config else CONFIG_VARIABLE
            parser.error(f"{option} only tries a file, with --check or --diff: to use it, copy it to {_relative(own)}")
    try:
        changes = _changes(folders, config)
    except ConfigError as error:
        _say(*error.messages, "Nothing was written.", to=sys.stderr)
        return 2
    if options.check or options.diff:
        _say(*(change.diff() for change in changes), end="")
    else:
        tree.apply(ROOT, changes)
    if options.check:
        _say(*(f"{change.path} is {change.problem}: run `{tree.COMMAND}`" for change in changes), to=sys.stderr)
        return 1 if changes else 0
    done = {"missing": "add", "changed": "change", "left over": "remove"}
    _say(*(f"{'would ' * options.diff}{done[change.problem]} {change.path}" for change in changes), to=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="render.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "cluster_dir",
        nargs="*",
        type=Path,
        metavar="CLUSTER_DIR",
        help="a cluster's folder (default: every folder of clusters/, and the files that are shared by all)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"a file to try instead of CLUSTER_DIR/{CONFIG}, with --check or --diff\n"
        f"(default: the environment variable {CONFIG_VARIABLE}, when one CLUSTER_DIR is named)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="write nothing, and exit 1 if something would change")
    mode.add_argument("--diff", action="store_true", help="write nothing, and show what would change")
    return parser


def _config_of_environment(folders: int) -> Path | None:
    value = os.environ.get(CONFIG_VARIABLE)
    if value and folders != 1:
        _say(f"{CONFIG_VARIABLE} is ignored: it is the file of one cluster, and no CLUSTER_DIR is named", to=sys.stderr)
    return Path(value) if value and folders == 1 else None


def _changes(folders: list[Path], config: Path | None) -> list[tree.Change]:
    """Return what is to be changed for some clusters, or, if none is named, for all and for what they share.

    Raises:
        ConfigError: Everything that is wrong with any cluster's configuration.
    """
    wanted: tree.Files = {}
    owned: list[Path] = []
    messages: list[str] = []
    configs: dict[str, Config] = {}
    for folder in folders or _clusters():
        owned += tree.rendered_files(folder)
        file = config or folder / CONFIG
        if not folders and not file.exists():
            continue  # The cluster is gone: what was rendered for it is left over.
        try:
            loaded = _load(file)
        except ConfigError as error:
            messages += error.messages
            continue
        configs[_relative(file)] = loaded
        # A file that is only tried makes what it would make in its place.
        wanted |= build(loaded, _relative(folder), _relative(folder / CONFIG))
    messages += checks.problems_between(configs)
    if messages:
        raise ConfigError(messages)
    if not folders:
        apis = ROOT / "apps" / "crossplane" / "apis"
        document = json.loads((ROOT / "api" / "openapi.json").read_text(encoding="utf-8"))
        wanted |= build_shared(_apis(apis), document, _module)
        owned += tree.marked_files([*apis.glob("*/composition.yaml"), *(ROOT / packages.FOLDER).rglob("*.yaml")])
    return tree.changes(ROOT, wanted, owned)


def _load(file: Path) -> Config:
    name = _relative(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{name}: cannot be read: {error}"]) from error
    loaded = load(text, name)
    _say(*(f"warning: {warning}" for warning in loaded.warnings), to=sys.stderr)
    return loaded.config


def _clusters() -> Iterable[Path]:
    return sorted(folder for folder in (ROOT / "clusters").iterdir() if folder.is_dir())


def _apis(folder: Path) -> Iterable[Api]:
    for definition in sorted(folder.glob("*/definition.yaml")):
        if definition.with_name("compose.py").exists():
            yield Api(_relative(definition.parent), yaml.safe_load(definition.read_text(encoding="utf-8")))


def _module(name: str) -> str:
    return (ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def _say(*lines: str, to: TextIO | None = None, end: str = "\n") -> None:
    (to or sys.stdout).writelines(f"{line}{end}" for line in lines)


if __name__ == "__main__":
    # Hardly anything becomes garbage before the end, and looking for it takes ever longer: twice the runtimes would
    # take more than twice the time.
    gc.disable()
    sys.exit(main())
