"""Tools are those that are pinned: on PATH, or built once and kept."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import install
from tools.go import go
from tools.install import TOOLS, Tool


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOCACHE", go("env", "GOCACHE", folder=tmp_path).strip())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_tool_on_path_is_used_when_it_is_exactly_the_pinned_version(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    there = program(tmp_path / "bin", "helm", f"{TOOLS['helm'].version}+gabc1234")
    assert install.find("helm") == there
    for other in (f"{TOOLS['helm'].version}0", f"1{TOOLS['helm'].version}", f"{TOOLS['helm'].version}-rc.1"):
        program(tmp_path / "bin", "helm", other)
        assert install.find("helm") is None, other


def test_a_tool_that_is_not_there_is_built_once_and_kept_outside_the_repository(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # A tool of a few lines in place of a real one: `tools/tiny` requires `greet`, which lies beside it.
    (tmp_path / "tiny").mkdir()
    (tmp_path / "greet").mkdir()
    (tmp_path / "tiny" / "go.mod").write_text(
        "module example.org/tiny\n\ngo 1.27.0\n\ntool example.org/greet\n\n"
        "require example.org/greet v1.2.3\n\nreplace example.org/greet => ../greet\n"
    )
    (tmp_path / "tiny" / "go.sum").touch()
    (tmp_path / "greet" / "go.mod").write_text("module example.org/greet\n\ngo 1.27.0\n")
    (tmp_path / "greet" / "main.go").write_text(
        "package main\n\nvar version string\n\nfunc main() { print(version) }\n"
    )
    monkeypatch.setattr(install, "FOLDER", tmp_path)
    monkeypatch.setitem(TOOLS, "tiny", Tool("tiny", ("main.version={version}",)))
    assert install.find("tiny") is None
    built = install.install("tiny")
    assert built.is_relative_to(empty_cache)
    assert subprocess.run([built], capture_output=True, text=True, check=True).stderr == "v1.2.3"
    assert "Building tiny v1.2.3" in capfd.readouterr().err
    assert install.install("tiny") == install.find("tiny") == built
    assert not capfd.readouterr().err


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_each_tool_says_the_version_that_its_go_mod_requires(tool: Callable[[str], Path], name: str) -> None:
    path, pinned = tool(name), TOOLS[name]
    if pinned.version_arguments:
        said = subprocess.run([path, *pinned.version_arguments], capture_output=True, text=True, check=True)
        assert pinned.version in said.stdout + said.stderr
    assert install.find(name) == path


def test_a_tool_that_does_not_exist_is_named_with_those_that_do() -> None:
    done = subprocess.run([sys.executable, "-m", "tools", "helmet"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no tool is called helmet: there are helm," in done.stderr
