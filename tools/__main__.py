"""`python -m tools` sets up every tool; `python -m tools NAME…` prints where those are."""

import argparse
import sys

from tools.go import GoError
from tools.install import CONTROL_PLANE, TOOLS, install

KNOWN = TOOLS | CONTROL_PLANE


def main() -> int:
    """Set up tools, print their paths, and return 1 when one is missing."""
    parser = argparse.ArgumentParser(prog="python -m tools", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"one of {', '.join(KNOWN)}; those of the tests but `make e2e` when none is named",
    )
    names = parser.parse_args().names or list(TOOLS)
    if unknown := sorted(set(names) - set(KNOWN)):
        parser.error(f"no tool is called {', '.join(unknown)}: there are {', '.join(KNOWN)}")
    missing = 0
    for name in names:
        try:
            print(install(name))
        except GoError as error:
            print(f"{name} {KNOWN[name].version}: {error}", file=sys.stderr)
            missing = 1
    return missing


if __name__ == "__main__":
    sys.exit(main())
