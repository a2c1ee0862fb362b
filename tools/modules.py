"""Go modules whose files are schemas: custom resource definitions and Kubernetes' own API description."""

import json
import re
from functools import cache
from pathlib import Path

from tools.go import go

SCHEMAS = Path(__file__).with_name("schemas")


def versions() -> dict[str, str]:
    """Return the version of each module that `tools/schemas/go.mod` requires, by its path."""
    return dict(re.findall(r"^\t(\S+) (v\S+)$", (SCHEMAS / "go.mod").read_text(), re.MULTILINE))


@cache
def download(path: str) -> Path:
    """Return the folder of the module called `path`, downloaded if it is not there, checked against go.sum.

    Raises:
        GoError: It cannot be downloaded, or is not what go.sum says.
    """
    # With its version named, only this module is loaded, not the hundreds that it requires.
    said = json.loads(go("mod", "download", "-json", f"{path}@{versions()[path]}", folder=SCHEMAS))
    return Path(said["Dir"])
