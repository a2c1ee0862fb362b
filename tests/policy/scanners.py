"""Two scanners that know nothing of each other or of us, run over a folder of manifests."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.policy.findings import Finding
from tests.policy.rendered import Rendered

# What asks the network for schemas, which kubeconform has checked against, and the order of keys, which means nothing.
UNWANTED = ("schema-validation", "sorted-keys")


class Manifests:
    """Manifests as files in a folder.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path, items: list[Rendered]) -> None:
        self.folder = folder
        self._items = {f"{number}.yaml": item for number, item in enumerate(items)}
        for name, item in self._items.items():
            (folder / name).write_text(yaml.dump(item.manifest, Dumper=yaml.CSafeDumper))

    def kube_linter(self, program: Path) -> Iterator[Finding]:
        """Yield what kube-linter finds with every check that it has, but `UNWANTED`."""
        excluded = [f"--exclude={check}" for check in UNWANTED]
        command = [str(program), "lint", str(self.folder), "--add-all-built-in", *excluded, "--format=json"]
        for report in _json(command)["Reports"]:
            item = self._items[Path(report["Object"]["Metadata"]["FilePath"]).name]
            yield Finding("kube-linter", report["Check"], item.kind, item.name, report["Diagnostic"]["Message"])

    def checkov(self, program: Path) -> Iterator[Finding]:
        """Yield what checkov finds with every check of manifests that it has, without asking its makers' service."""
        command = [str(program), "--directory", str(self.folder), "--framework=kubernetes", "--output=json"]
        for check in _json([*command, "--compact", "--quiet", "--skip-download"])["results"]["failed_checks"]:
            item = self._items[Path(check["file_path"]).name]
            yield Finding("checkov", check["check_id"], item.kind, item.name, check["check_name"])


def _json(command: list[str]) -> dict[str, Any]:
    # Both end with 1 when they find something.
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"LOG_LEVEL": "ERROR"})
    assert done.returncode in {0, 1}, done.stderr
    assert done.stdout.startswith("{"), done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found
