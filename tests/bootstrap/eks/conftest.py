"""A repository with one cluster, AWS as the emulator plays it, and stand-ins for the programs that reach it."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from bootstrap.eks.__main__ import main
from bootstrap.eks.aws import Aws as ClusterInAws
from bootstrap.eks.target import Target
from bootstrap.eks.up import Bootstrap
from generator.build import build
from generator.load import load
from tests.conftest import ACCOUNT_ID, REGION, REPOSITORY, Aws, commit, emulated, git

PROGRAMS = Path(__file__).parent / "programs"
URL = "https://git.example.com/darkroom.git"


@dataclass
class World:
    """A repository, and what there is beside it.

    Attributes:
        stack: Name of the stack and cluster, which no other test has.
        stand_ins: Folder of what the stand-ins keep.
    """

    repository: Path
    stack: str
    stand_ins: Path

    def configure(self, **cluster: Any) -> None:
        """Write, render, commit and push the cluster's configuration."""
        config = {
            "stackName": self.stack,
            "modelsRuntime": [
                {"name": "sdruntime", "modelFilename": "a.safetensors"},
                {"name": "comfy", "type": "comfyui"},
            ],
            "cluster": {
                "accountId": ACCOUNT_ID,
                "region": REGION,
                "repository": {"url": URL},
                "tags": {"team": "pictures"},
                **cluster,
            },
        }
        file = self.repository / "clusters" / "test" / "config.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(config))
        rendered = build(load(file.read_text(), "config.yaml").config, "clusters/test", "clusters/test/config.yaml")
        shutil.rmtree(file.parent / "rendered", ignore_errors=True)
        for path, text in rendered.items():
            (self.repository / path).parent.mkdir(parents=True, exist_ok=True)
            (self.repository / path).write_text(text)
        commit(self.repository, "configure")
        git(self.repository, "push", "--quiet", URL, "HEAD:main")

    def up(self, *options: str, answer: str = "y") -> int:
        """Run `make bootstrap`."""
        return main(["up", "test", *options], self.repository, 0.01, lambda _: answer)

    def down(self, *options: str, answer: str = "y") -> int:
        """Run `make teardown`."""
        return main(["down", "test", *options], self.repository, 0.01, lambda _: answer)

    def bootstrap(self) -> Bootstrap:
        """Return what the steps are about."""
        text = (self.repository / "clusters" / "test" / "config.yaml").read_text()
        target = Target(self.repository, "test", load(text, "config.yaml").config, poll_seconds=0.01)
        return Bootstrap(target, ClusterInAws(REGION, self.stack), lambda _: None)

    def calls(self, *starts: str) -> list[str]:
        """Return the calls of programs that start so, in order."""
        file = self.stand_ins / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(starts)]

    def forget_calls(self) -> None:
        """Begin a new list of calls."""
        (self.stand_ins / "calls").unlink(missing_ok=True)

    def objects(self, kind: str) -> list[Any]:
        """Return the objects of a kind in the cluster."""
        state = json.loads((self.stand_ins / "state.json").read_text())
        return [item for item in state["objects"] if item["kind"] == kind]

    def add_object(self, item: Any) -> None:
        """Put an object into the cluster."""
        file = self.stand_ins / "state.json"
        state = json.loads(file.read_text())
        file.write_text(json.dumps(state | {"objects": [*state["objects"], item]}))

    def dies(self, point: str) -> None:
        """Let a program end at a point, as if the machine had."""
        (self.stand_ins / f"dies-{point}").touch()


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The services that a cluster is made of; tests share them, so each has a cluster of its own."""
    services = "cloudformation,ec2,ecr,eks,iam,logs,s3,sts"
    with emulated(tmp_path_factory.mktemp("emulator"), services) as running:
        yield running


@pytest.fixture
def world(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A repository with the cluster `test`, which is not there yet."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GIT_"))]:
        monkeypatch.delenv(name)
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # a service that the emulator lacks will not come
    repository, stand_ins, programs = (tmp_path / name for name in ("repository", "stand-ins", "programs"))
    for folder in (repository / "apps" / "argocd", stand_ins, programs):
        folder.mkdir(parents=True)
    for file in PROGRAMS.iterdir():
        if file.suffix:
            continue
        # As they are, but by the Python that has boto3.
        (programs / file.name).write_text(f"#!{sys.executable}\n{file.read_text().partition(chr(10))[2]}")
        (programs / file.name).chmod(0o755)
    (programs / "state.py").write_text((PROGRAMS / "state.py").read_text())
    (programs / "aws").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_INS", str(stand_ins))
    monkeypatch.setenv("RENDERED", str(repository / "clusters" / "test" / "rendered"))
    (repository / "apps" / "argocd" / "values.yaml").write_text(
        (REPOSITORY / "apps" / "argocd" / "values.yaml").read_text()
    )
    (repository / ".gitignore").write_text(".run/\n")
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch", "main", tmp_path / "remote"], check=True)
    git(repository, "init", "--quiet", "--initial-branch", "main")
    git(repository, "config", f"url.{tmp_path / 'remote'}.insteadOf", URL)
    made = World(repository, f"t{uuid.uuid4().hex[:10]}", stand_ins)
    made.configure()
    return made


def resources(stack: str) -> set[str]:
    """Return what is left in AWS of a cluster."""
    iam, eks, cloudformation = (boto3.client(name) for name in ("iam", "eks", "cloudformation"))
    roles = {
        f"role {item['RoleName']}" for item in iam.list_roles()["Roles"] if item["RoleName"].startswith(f"{stack}-")
    }
    clusters = {f"cluster {name}" for name in eks.list_clusters()["clusters"] if name == stack}
    stacks = {
        f"stack {item['StackName']}"
        for item in cloudformation.describe_stacks()["Stacks"]
        if stack in item["StackName"] and item["StackStatus"] != "DELETE_COMPLETE"
    }
    return set(itertools.chain(roles, clusters, stacks))
