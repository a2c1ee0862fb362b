"""The images' Dockerfiles: linted, and held to what the chart and the functions expect of them."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.images.dockerfile import Dockerfile, read

REPOSITORY = Path(__file__).parents[2]
FILES = sorted(REPOSITORY.glob("*/Dockerfile")) + sorted(REPOSITORY.glob("webui/*/Dockerfile"))


@pytest.fixture(params=FILES, ids=lambda path: str(path.parent.relative_to(REPOSITORY)))
def dockerfile(request: pytest.FixtureRequest) -> Dockerfile:
    """Each Dockerfile of the project."""
    return read(request.param)


def test_there_is_an_image_for_everything_that_runs() -> None:
    folders = [str(path.parent.relative_to(REPOSITORY)) for path in FILES]
    assert folders == ["agent", "api", "webui/comfyui", "webui/sdwebui", "webui/tiny"]


def test_hadolint_has_nothing_to_say(dockerfile: Dockerfile) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    command = [str(hadolint), "--config", str(REPOSITORY / ".hadolint.yaml"), str(dockerfile.path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_base_is_pinned_by_tag_and_digest_and_is_the_same_for_all(dockerfile: Dockerfile) -> None:
    base, build, final = dockerfile.all("FROM")
    assert re.fullmatch(r"docker\.io/library/python:3\.13\.\d+-slim-trixie@sha256:[0-9a-f]{64} AS base", base)
    assert (build, final) == ("base AS build", "base")
    assert base in read(FILES[0]).all("FROM")


def test_process_is_no_root_no_shell_and_its_user_a_number_that_kubernetes_can_check(dockerfile: Dockerfile) -> None:
    assert dockerfile.all("USER") == ["10001:10001"]
    names = [name for name, _ in dockerfile.instructions]
    assert names.index("USER") > len(names) - 1 - names[::-1].index("COPY"), "files belong to root"
    assert dockerfile.last("ENTRYPOINT")[0] == "python"


def test_labels_say_what_it_is_and_where_it_comes_from(dockerfile: Dockerfile) -> None:
    (labels,) = dockerfile.all("LABEL")
    named = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert named == {"title", "description", "licenses", "source", "version", "revision"}


def test_sources_of_others_are_pinned(dockerfile: Dockerfile) -> None:
    for run in dockerfile.all("RUN"):
        assert "latest" not in run
        assert "curl" not in run
    for argument in dockerfile.all("ARG"):
        name, _, value = argument.partition("=")
        if name.endswith("_COMMIT"):
            assert re.fullmatch("[0-9a-f]{40}", value)
        if name.endswith("_VERSION"):
            assert re.fullmatch(r"v\d+\.\d+\.\d+", value)


def test_own_code_is_installed_from_its_lock_alone(dockerfile: Dockerfile) -> None:
    locks = [source for source, _ in dockerfile.context if source.startswith("requirements/")]
    install = [run for run in dockerfile.all("RUN") if "--requirement /requirements.txt" in run]
    assert len(locks) == len(install) == (0 if dockerfile.path.parent.name in {"sdwebui", "comfyui"} else 1)
    for run in install:
        assert "--require-hashes" in run
        assert "--no-deps" in run
        assert "--only-binary :all:" in run


def test_what_is_copied_is_sent_to_the_builder_and_nothing_else_is(dockerfile: Dockerfile) -> None:
    for source, _ in dockerfile.context:
        assert (REPOSITORY / source).exists()
        assert sent(source), f"{source} is kept back by .dockerignore"


def test_workflows_use_actions_by_commit() -> None:
    for workflow in (REPOSITORY / ".github/workflows").glob("*.yaml"):
        used = re.findall(r"uses: (\S+)(.*)", workflow.read_text())
        assert used
        for action, comment in used:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), f"{workflow.name}: {action}"
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{workflow.name}: {action} does not say its version"


def test_workflow_builds_every_image() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/images.yaml").read_text())
    folders = workflow["jobs"]["image"]["strategy"]["matrix"]["folder"]
    assert sorted(folders) == [str(path.parent.relative_to(REPOSITORY)) for path in FILES]


@pytest.mark.parametrize(
    "path",
    [".git/config", "clusters/local/config.yaml", "agent/__pycache__/a.pyc", "webui/tiny/train/a.py", "tests/a.py"],
)
def test_what_no_image_needs_is_kept_back(path: str) -> None:
    assert not sent(path)


def sent(path: str) -> bool:
    """Return whether `.dockerignore` lets a path through; the last pattern that matches it or a parent decides."""
    parents = [path, *(str(parent) for parent in Path(path).parents)]
    verdict = True
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if not line or line.startswith("#"):
            continue
        if any(fnmatch(parent, pattern) or fnmatch(f"/{parent}", pattern.replace("**", "*")) for parent in parents):
            verdict = line.startswith("!")
    return verdict
