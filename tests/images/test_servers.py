"""How the inference servers' images start them: the chart's environment in, a command line out."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SHOW = "import json, os, sys; print(json.dumps([os.getcwd(), *sys.argv]))"


@pytest.fixture
def started(repository: Path, tmp_path: Path) -> Any:
    """Starts a server's image in an installation of that server that shows its arguments, and returns them."""
    installation = tmp_path / "installation"
    installation.mkdir()
    for program in ("launch.py", "main.py"):
        (installation / program).write_text(SHOW)

    def start(server: str, **environ: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, repository / "webui/serve.py", server],
            check=False,
            cwd=installation,
            env={"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(tmp_path / "models")} | environ,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        folder, *arguments = json.loads(done.stdout)
        assert folder == str(installation)
        return list(arguments)

    return start


def test_sdwebui_listens_for_its_api_alone_and_installs_nothing(started: Any) -> None:
    program, *arguments = started("sdwebui")
    assert program == "launch.py"
    assert {"--nowebui", "--listen", "--port=8080", "--skip-prepare-environment"} <= set(arguments)


def test_comfyui_listens_without_opening_a_browser_or_asking_the_internet(started: Any) -> None:
    program, *arguments = started("comfyui")
    assert program == "main.py"
    assert {"--listen=0.0.0.0", "--port=8080", "--disable-auto-launch", "--offline", "--disable-mmap"} <= set(arguments)


@pytest.mark.parametrize("server", ["sdwebui", "comfyui"])
def test_further_arguments_come_last_so_that_they_win(started: Any, server: str) -> None:
    arguments = started(server, EXTRA_CMD_ARG="--port=9 --name 'two words'")
    assert arguments[-3:] == ["--port=9", "--name", "two words"]


def test_static_runtime_starts_with_its_model_and_the_charts_options(started: Any, tmp_path: Path) -> None:
    given = tmp_path / "config.json"
    given.write_text('{"disable_mmap_load_safetensors": true}')
    given.chmod(0o444)
    arguments = started("sdwebui", CONFIG_FILE=str(given), SD_MODEL_CHECKPOINT="a.safetensors")
    (file,) = [it.partition("=")[2] for it in arguments if it.startswith("--ui-settings-file=")]
    assert json.loads(Path(file).read_text()) == {
        "disable_mmap_load_safetensors": True,
        "sd_model_checkpoint": "a.safetensors",
    }
    assert os.access(file, os.W_OK), "the web UI writes its options when a model is switched"


@pytest.mark.parametrize("server", ["sdwebui", "comfyui"])
def test_models_are_read_where_they_are_mounted_and_missing_folders_can_be_made(
    started: Any, server: str, tmp_path: Path
) -> None:
    (tmp_path / "models/Stable-diffusion").mkdir(parents=True)
    (tmp_path / "models/Stable-diffusion/a.safetensors").touch()
    for _ in range(2):  # a container that is started again finds what it made
        started(server)
    models = tmp_path / "data/models"
    assert (models / "Stable-diffusion/a.safetensors").exists()
    (models / "VAE").mkdir()
    assert not (tmp_path / "models/VAE").exists()


def test_options_that_are_no_object_are_named(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    environ = {"DATA_DIR": str(tmp_path / "data"), "CONFIG_FILE": str(tmp_path / "config.json")}
    command = [sys.executable, str(repository / "webui/serve.py"), "sdwebui"]
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "CONFIG_FILE" in done.stderr
