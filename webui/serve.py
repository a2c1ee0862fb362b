"""Starts an inference server in its image as the chart asks for it: headless, on a read-only root file system.

    python serve.py sdwebui|comfyui

The environment is that of the guidance's images:

    SD_MODEL_CHECKPOINT   sdwebui: the model to load at the start
    CONFIG_FILE           sdwebui: a file with its options; they are copied, since it writes them
    EXTRA_CMD_ARG         further arguments, quoted as for a shell
    MODELS_DIR            where the models are mounted, by default /opt/ml/code/models
    DATA_DIR              where the server may write, by default /tmp/data
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Environ = Mapping[str, str]

PORT = "8080"
COMFYUI_FOLDERS = ("custom_nodes", "input", "output", "temp", "user")


def sdwebui(environ: Environ, data: Path) -> list[str]:
    """Prepare Stable Diffusion WebUI Forge Neo, and return its command line.

    Raises:
        ValueError: `CONFIG_FILE` is not a JSON object.
    """
    settings = data / "config.json"
    settings.write_text(json.dumps(_options(environ)))
    return [
        "launch.py",
        "--nowebui",
        "--listen",
        f"--port={PORT}",
        "--skip-prepare-environment",
        "--skip-version-check",
        "--no-hashing",
        f"--data-dir={data}",
        f"--model-ref={data / 'models'}",
        f"--ui-settings-file={settings}",
    ]


def comfyui(_: Environ, data: Path) -> list[str]:
    """Prepare ComfyUI, and return its command line."""
    for folder in COMFYUI_FOLDERS:
        (data / folder).mkdir(exist_ok=True)
    return [
        "main.py",
        "--listen=0.0.0.0",
        f"--port={PORT}",
        "--disable-auto-launch",
        "--offline",
        # Mapped into memory, a model is read from S3 in small pieces, many times slower.
        "--disable-mmap",
        f"--base-directory={data}",
    ]


SERVERS: dict[str, Callable[[Environ, Path], list[str]]] = {"sdwebui": sdwebui, "comfyui": comfyui}


def link_models(mounted: Path, models: Path) -> None:
    """Make the folders in `mounted` appear in `models`, where servers make those that they miss."""
    models.mkdir(parents=True, exist_ok=True)
    for folder in sorted(mounted.iterdir()) if mounted.is_dir() else []:
        link = models / folder.name
        if not link.is_symlink():
            link.symlink_to(folder)


def main(server: str, environ: Environ) -> None:
    """Prepare what `server` needs, and become it: signals go to the server itself."""
    data = Path(environ.get("DATA_DIR", "/tmp/data"))  # noqa: S108 - a folder of this container alone
    link_models(Path(environ.get("MODELS_DIR", "/opt/ml/code/models")), data / "models")
    command = SERVERS[server](environ, data) + shlex.split(environ.get("EXTRA_CMD_ARG", ""))
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606


def _options(environ: Environ) -> dict[str, Any]:
    file = Path(environ.get("CONFIG_FILE", ""))
    given = json.loads(file.read_text()) if file.is_file() else {}
    if not isinstance(given, dict):
        raise ValueError(f"CONFIG_FILE: {file} is not a JSON object")
    checkpoint = environ.get("SD_MODEL_CHECKPOINT")
    return given | ({"sd_model_checkpoint": checkpoint} if checkpoint else {})


if __name__ == "__main__":
    main(sys.argv[1], os.environ)
