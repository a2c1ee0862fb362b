import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.generator.cases import FIXTURES, ROOT

SOURCES = ("generator", "clusters", "apps/crossplane", "api/openapi.json", "runtimes/chart", "docs/reference.md")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of everything that the generator reads and writes."""
    for source in SOURCES:
        target = tmp_path / "checkout" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, target)
    return tmp_path / "checkout"


def render(checkout: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line from a folder that has nothing to do with the repository."""
    return subprocess.run(
        [sys.executable, str(checkout / "generator" / "render.py"), *arguments],
        cwd=checkout.parent,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_committed_is_what_the_sources_say() -> None:
    done = render(ROOT, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_names_a_changed_a_missing_and_a_left_over_file_and_what_mends_them(checkout: Path) -> None:
    rendered = checkout / "clusters" / "local" / "rendered"
    changed = rendered / "claims" / "inference-api.yaml"
    changed.write_text(changed.read_text().replace("us-east-1", "eu-west-1"))
    (rendered / "claims" / "runtimes" / "tiny.yaml").unlink()
    (rendered / "claims" / "runtimes" / "old.yaml").write_text("kind: InferenceRuntime\n")

    done = render(checkout, "--check")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "clusters/local/rendered/claims/inference-api.yaml is changed: run `make render`",
        "clusters/local/rendered/claims/runtimes/old.yaml is left over: run `make render`",
        "clusters/local/rendered/claims/runtimes/tiny.yaml is missing: run `make render`",
    ]
    assert "-  region: eu-west-1\n+  region: us-east-1\n" in done.stdout
    assert "--- a/clusters/local/rendered/claims/runtimes/old.yaml\n+++ /dev/null\n" in done.stdout
    assert "--- /dev/null\n+++ b/clusters/local/rendered/claims/runtimes/tiny.yaml\n" in done.stdout

    assert render(checkout, "--diff").stdout == done.stdout
    assert render(checkout).returncode == 0
    assert render(checkout, "--check").returncode == 0
    assert not (rendered / "claims" / "runtimes" / "old.yaml").exists()


@pytest.mark.parametrize("path", ["docs/reference.md", "clusters/config.schema.json", "runtimes/chart/README.md"])
def test_check_covers_what_all_clusters_share(checkout: Path, path: str) -> None:
    (checkout / path).unlink()
    done = render(checkout, "--check")
    assert (done.returncode, done.stderr) == (1, f"{path} is missing: run `make render`\n")


def test_a_composition_follows_its_script_and_goes_with_it(checkout: Path) -> None:
    api = checkout / "apps" / "crossplane" / "apis" / "inferenceapi"
    with (api / "compose.py").open("a") as script:
        script.write("# a change\n")
    assert render(checkout, "--check").returncode == 1
    render(checkout)
    assert "        # a change\n" in (api / "composition.yaml").read_text()
    (api / "compose.py").unlink()
    assert render(checkout, "--check").stderr.endswith("composition.yaml is left over: run `make render`\n")


def test_a_cluster_that_is_gone_takes_what_was_rendered_for_it_along(checkout: Path) -> None:
    (checkout / "clusters" / "local" / "config.yaml").unlink()
    assert render(checkout).returncode == 0
    assert not (checkout / "clusters" / "local").exists()
    assert (checkout / "clusters" / "production" / "rendered").exists()


def test_every_error_of_every_cluster_is_told_and_nothing_is_written(checkout: Path) -> None:
    for cluster in ("local", "production"):
        file = checkout / "clusters" / cluster / "config.yaml"
        file.write_text(file.read_text().replace("modelsRuntime", "modelRuntime"))
    (checkout / "docs" / "reference.md").unlink()
    done = render(checkout)
    assert done.returncode == 2
    assert done.stderr.count("modelRuntime: is not a known key: did you mean modelsRuntime?") == 2
    assert done.stderr.count("modelsRuntime: is missing. The runtimes.") == 2
    assert done.stderr.endswith("Nothing was written.\n")
    assert not (checkout / "docs" / "reference.md").exists()


def test_stacks_of_one_account_do_not_reach_into_each_other(checkout: Path) -> None:
    for name, told in {"darkroom": True, "darkroom-staging": True, "darkroomstaging": False}.items():
        file = checkout / "clusters" / "staging" / "config.yaml"
        file.write_text(re.sub("(?m)^stackName: .*$", f"stackName: {name}", file.read_text()))
        done = render(checkout, "--diff")
        assert done.returncode == (2 if told else 0), done.stderr
        assert ("clusters/staging/config.yaml: stackName: " in done.stderr) is told
        assert "whose rights to darkroom-* would hold for it" in done.stderr or not told


def test_one_cluster_can_be_rendered_alone(checkout: Path) -> None:
    claim = checkout / "clusters" / "local" / "rendered" / "claims" / "inference-api.yaml"
    claim.unlink()
    (checkout / "docs" / "reference.md").unlink()
    own = checkout / "clusters" / "local" / "config.yaml"

    assert render(checkout, str(own.parent), "--config", str(own)).returncode == 0
    assert "# Made from: clusters/local/config.yaml\n" in claim.read_text()
    assert not (checkout / "docs" / "reference.md").exists()


def test_a_file_from_elsewhere_can_be_tried_and_makes_no_files_that_the_next_check_finds_left_over(
    checkout: Path,
) -> None:
    file = checkout / "other.yaml"
    shutil.copy(FIXTURES / "valid" / "successor-file.yaml", file)
    local = str(checkout / "clusters" / "local")

    tried = render(checkout, "--diff", local, "--config", str(file))
    assert tried.returncode == 0
    assert "+  name: sdoneks\n" in tried.stdout
    # What it would make in its place: that it is elsewhere makes no difference.
    assert "Made from: other.yaml" not in tried.stdout
    assert render(checkout, "--check", local, CDK_CONFIG_PATH=str(file)).returncode == 1

    for name, done in {
        "--config": render(checkout, local, "--config", str(file)),
        "CDK_CONFIG_PATH": render(checkout, local, CDK_CONFIG_PATH=str(file)),
    }.items():
        assert done.returncode == 2
        assert f"{name} only tries a file, with --check or --diff" in done.stderr
        assert "copy it to clusters/local/config.yaml" in done.stderr
    # Where several clusters are rendered the guidance's variable does nothing.
    assert render(checkout, CDK_CONFIG_PATH=str(file)).stderr.startswith("CDK_CONFIG_PATH is ignored")
    assert render(checkout, "--check", local).returncode == 0

    shutil.copy(file, checkout / "clusters" / "local" / "config.yaml")
    assert render(checkout, "--diff", local).stdout == tried.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "not a folder of this repository"),
        (["--config", "a.yaml"], "name one CLUSTER_DIR"),
        (["--check", "--diff"], "not allowed with"),
        ([str(ROOT / "docs")], "docs/config.yaml: cannot be read"),
    ],
)
def test_a_wrong_command_is_explained(arguments: list[str], message: str) -> None:
    done = render(ROOT, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_warnings_do_not_fail(checkout: Path) -> None:
    (checkout / "clusters" / "local" / "config.yaml").write_text(
        (FIXTURES / "valid" / "documents-typo-in-type.yaml").read_text()
    )
    done = render(checkout, str(checkout / "clusters" / "local"))
    assert done.returncode == 0
    assert "warning: clusters/local/config.yaml:4: modelsRuntime[0].type: confyui is read as comfyui\n" in done.stderr
