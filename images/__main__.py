"""`python -m images`: repositories for the images, and their digests in a cluster's config."""

import argparse
import sys
from pathlib import Path

import boto3

from images import pin, repositories

NAMES = ("agent", "api", "tiny", "sdwebui", "comfyui")


def main() -> int:
    """Do what the arguments say; return 2 when they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make the repositories that a registry of Amazon ECR lacks")
    create.add_argument("registry", help="such as 123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom")
    pins = commands.add_parser("pin", help="write the digests of published images into a cluster's config.yaml")
    pins.add_argument("registry")
    pins.add_argument("config", type=Path, help="clusters/<cluster>/config.yaml")
    pins.add_argument("metadata", type=Path, help="the folder of the builds' metadata files")
    arguments = parser.parse_args()
    try:
        return _create(arguments.registry) if arguments.command == "create" else _pin(arguments)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def _create(registry: str) -> int:
    if not registry:
        raise ValueError("say where to: REGISTRY=123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom")
    region = repositories.region(registry)
    if region is None:
        print(f"{registry} is not Amazon ECR: it makes its repositories itself, or you do")
        return 0
    for name in repositories.create(boto3.client("ecr", region_name=region), registry, NAMES):
        print(f"made {name}")
    return 0


def _pin(arguments: argparse.Namespace) -> int:
    digests = pin.digests(arguments.metadata)
    if not digests:
        raise ValueError(f"{arguments.metadata} has no metadata of a build: run `make publish` first")
    text, named = pin.pinned(arguments.config.read_text(), arguments.registry, digests)
    if not named:
        raise ValueError(f"{arguments.config} names no image of {arguments.registry}")
    arguments.config.write_text(text)
    for name in sorted(digests):
        print(f"{name}: {digests[name] if name in named else 'not named there, and left alone'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
