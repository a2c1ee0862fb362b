"""A server that really runs, as a process of its own, with two checkpoints to choose from."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# As webui/tiny/__main__.py does, and like there before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import requests
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from webuiapi import WebUIApi

from bootstrap.local.programs import Ports, Program, Programs, answers
from tests.conftest import REPOSITORY
from webui.tiny.library import SHIPPED
from webui.tiny.network import Network

SHIPPED_FILE = SHIPPED / "tiny-shapes.safetensors"
OTHER = "other-shapes.safetensors"


@dataclass(frozen=True)
class Server:
    """A running server, and how to talk to it."""

    port: int
    models: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sdapi/v1"

    def get(self, path: str, **query: str) -> Any:
        return requests.get(f"{self.url}/{path}", query, timeout=30).json()

    def post(self, path: str, body: object = None) -> requests.Response:
        return requests.post(f"{self.url}/{path}", json=body, timeout=60)

    def wait_for(self, condition: Callable[[Any], bool]) -> Any:
        """The first answer of `progress` that meets `condition`."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            progress = self.get("progress")
            if condition(progress):
                return progress
            time.sleep(0.01)
        raise TimeoutError("progress never got there")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped checkpoint and another that draws the same but has a hash of its own."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(SHIPPED_FILE, folder)
    with safe_open(SHIPPED_FILE, "np") as file:
        metadata = file.metadata()
    save_file(load_file(SHIPPED_FILE), folder / OTHER, metadata | {"note": "another file"})
    return folder


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(Ports().of("server", 0), models)
    environ = {"SD_MODEL_CHECKPOINT": SHIPPED_FILE.name, "MODELS_DIR": str(models), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-W", "error", "-m", "webui.tiny", "--port", str(running.port)]
    programs = Programs(tmp_path_factory.mktemp("server"))
    programs.start(Program("server", command, os.environ | environ, partial(answers, f"{running.url}/options")))
    try:
        programs.wait_ready("server")
        yield running
    finally:
        programs.kill()


@pytest.fixture
def client(server: Server) -> Iterator[WebUIApi]:
    """A client written by others."""
    api = WebUIApi(port=server.port, sampler="Euler", steps=12)
    with api.session:
        yield api


@pytest.fixture(scope="session")
def network() -> Network:
    return Network(SHIPPED_FILE)


class Background:
    """A call that runs beside the test."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self.result: Any = None
        self._thread.start()

    def _run(self) -> None:
        self.result = self._call()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def wait(self) -> Any:
        self._thread.join(60)
        assert not self.running
        return self.result
