"""From a registry's name to repositories, pushed images and digests in a cluster's config."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml
from moto import mock_aws

from images import pin, repositories

REGISTRY = "123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom"
AGENT, API = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def test_repositories_are_made_once_with_tags_that_cannot_be_moved_and_scans() -> None:
    with mock_aws():
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        ecr = boto3.client("ecr", "us-west-2", **keys)  # type: ignore[call-overload]
        assert repositories.create(ecr, REGISTRY, ["agent", "api"]) == ["darkroom/agent", "darkroom/api"]
        assert repositories.create(ecr, REGISTRY, ["agent", "tiny"]) == ["darkroom/tiny"]
        made = {it["repositoryName"]: it for it in ecr.describe_repositories()["repositories"]}
    assert set(made) == {"darkroom/agent", "darkroom/api", "darkroom/tiny"}
    for repository in made.values():
        assert repository["imageTagMutability"] == "IMMUTABLE"
        assert repository["imageScanningConfiguration"]["scanOnPush"]


@pytest.mark.parametrize(
    ("registry", "region"),
    [
        (REGISTRY, "us-west-2"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/darkroom", "cn-north-1"),
        ("ghcr.io/somebody/darkroom", None),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com", None),
    ],
)
def test_region_is_the_registrys_own(registry: str, region: str | None) -> None:
    assert repositories.region(registry) == region


def test_digests_take_the_place_of_tags_and_all_else_stays(repository: Path) -> None:
    text = (repository / "clusters/production/config.yaml").read_text()
    changed, named = pin.pinned(text, REGISTRY, {"agent": AGENT, "api": API})
    assert named == {"agent"}, "production takes the default image of the API"
    before, after = text.splitlines(), changed.splitlines()
    assert len(before) == len(after)
    different = [new.strip() for old, new in zip(before, after, strict=True) if old != new]
    assert different == [f"tag: {AGENT}"]
    (runtime, *_) = yaml.safe_load(changed)["modelsRuntime"]
    assert runtime["extraValues"]["runtime"]["queueAgent"]["image"]["tag"] == AGENT
    again, _ = pin.pinned(changed, REGISTRY, {"agent": API})
    assert f"tag: {API}" in again
    assert AGENT not in again


@pytest.mark.parametrize("reference", [":0.1.0", f"@{AGENT}"])
def test_image_that_is_written_as_one_is_pinned_too(reference: str) -> None:
    text = f"cluster:\n  api:\n    image: {REGISTRY}/api{reference} # ours\n"
    changed, named = pin.pinned(text, REGISTRY, {"api": API})
    assert changed == f"cluster:\n  api:\n    image: {REGISTRY}/api@{API} # ours\n"
    assert named == {"api"}


def test_images_of_others_are_left_alone() -> None:
    text = "image:\n  repository: docker.io/other/agent\n  tag: 1.2.3\n"
    assert pin.pinned(text, REGISTRY, {"agent": AGENT}) == (text, set())


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "images", *arguments]
    return subprocess.run(command, check=False, cwd=repository, capture_output=True, text=True, timeout=60)


def test_pinning_says_what_it_did_and_what_is_missing(repository: Path, tmp_path: Path) -> None:
    config, metadata = tmp_path / "config.yaml", tmp_path / "metadata"
    config.write_text((repository / "clusters/production/config.yaml").read_text())
    metadata.mkdir()
    done = run(repository, "pin", REGISTRY, str(config), str(metadata))
    assert (done.returncode, "make publish" in done.stderr) == (2, True)
    (metadata / "agent.json").write_text("{}")
    done = run(repository, "pin", REGISTRY, str(config), str(metadata))
    assert (done.returncode, "agent.json" in done.stderr) == (2, True)
    for name, digest in (("agent", AGENT), ("api", API)):
        (metadata / f"{name}.json").write_text(json.dumps({"containerimage.digest": digest}))
    done = run(repository, "pin", "ghcr.io/other", str(config), str(metadata))
    assert (done.returncode, "names no image of ghcr.io/other" in done.stderr) == (2, True)
    done = run(repository, "pin", REGISTRY, str(config), str(metadata))
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"agent: {AGENT}", "api: not named there, and left alone"]
    assert config.read_text().count(AGENT) == 1


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A folder with a `docker` that notes what it is asked to do."""
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\nprintf "%s " "$@" >> {tmp_path}/asked; echo >> {tmp_path}/asked\n')
    program.chmod(0o755)
    return tmp_path


def make(repository: Path, docker: Path, *arguments: str) -> list[str]:
    """Run make with that `docker`, and return what it was asked to do."""
    environ = {"PATH": f"{docker}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/")}
    # Environments are as they are here, whatever the locks say: tests install nothing.
    command = ["make", "--silent", "--old-file=.venv/bin/.installed", *arguments, f"IMAGE_METADATA={docker}/metadata"]
    done = subprocess.run(command, check=False, cwd=repository, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return (docker / "asked").read_text().splitlines()


def test_make_images_builds_each_for_this_machine(repository: Path, docker: Path) -> None:
    asked = make(repository, docker, "images", "VERSION=1.2.3")
    assert len(asked) == 5
    for line, name in zip(asked, ["agent", "api", "tiny", "sdwebui", "comfyui"], strict=True):
        assert line.startswith("buildx build --load")
        assert f"--tag darkroom/{name}:1.2.3" in line
        assert "--build-arg VERSION=1.2.3" in line
        assert "--platform" not in line


def test_make_publish_images_pushes_for_every_architecture_with_an_sbom(repository: Path, docker: Path) -> None:
    asked = make(
        repository, docker, "publish-images", "REGISTRY=ghcr.io/x", "VERSION=1.2.3", "ONLY=agent webui/comfyui"
    )
    agent, comfyui = asked
    assert "--platform linux/amd64,linux/arm64 " in agent
    assert "--platform linux/amd64 " in comfyui, "its GPUs are there for amd64"
    for line, name in ((agent, "agent"), (comfyui, "comfyui")):
        assert "--push --sbom=true --provenance=mode=max" in line
        assert f"--tag ghcr.io/x/{name}:1.2.3" in line
        assert f"--metadata-file {docker}/metadata/{name}.json" in line
