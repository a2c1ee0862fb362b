"""The configurations that tests are told with: one file for each story, and what is to be said about it on top."""

from pathlib import Path
from typing import Any

import yaml

from generator.build import build
from generator.load import load

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).parent / "fixtures"
VALID = sorted((FIXTURES / "valid").glob("*.yaml"))
INVALID = sorted((FIXTURES / "invalid").glob("*.yaml"))
EXAMPLES = sorted((ROOT / "runtimes" / "examples").glob("*.yaml"))
CLUSTERS = sorted(ROOT.glob("clusters/*/config.yaml"))

Manifest = dict[str, Any]

CLUSTER = """
cluster:
  accountId: "123456789012"
  region: us-west-2
  repository:
    url: https://git.example.com/darkroom.git
"""


def announced(file: Path, word: str) -> list[str]:
    """Return the messages that the comments on top of a fixture announce, less the name of the file."""
    start = f"# {word}: "
    return [line.removeprefix(start) for line in file.read_text().splitlines() if line.startswith(start)]


def manifests(text: str) -> dict[str, Manifest]:
    """Return what is rendered from a config.yaml, parsed, by path below `rendered/`."""
    files = build(load(text, "config.yaml").config, "clusters/test", "clusters/test/config.yaml")
    return {
        path.removeprefix("clusters/test/rendered/"): yaml.load(text, yaml.CSafeLoader) for path, text in files.items()
    }


def values(text: str, runtime: str) -> Manifest:
    """Return the Helm values that are rendered for a runtime."""
    application = manifests(text)[f"applications/runtimes/{runtime}.yaml"]
    found: Manifest = application["spec"]["source"]["helm"]["valuesObject"]
    return found
