"""`darkroom` on the command line, as a process, on a running service."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.conftest import eventually
from tests.studio import STAND_IN, WORKFLOWS, Studio, shared_studio, studio  # noqa: F401 - fixtures

COMMAND = [sys.executable, "-W", "error", "-m", "client"]


class Terminal:
    """Runs commands in a folder of their own."""

    def __init__(self, url: str, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(repository),
            "DARKROOM_URL": url,
            "COLUMNS": "200",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environ,
            stdout=pipe,
            stderr=pipe,
            text=True,
            # A shell that runs the tests in its background has them ignore Ctrl-C, and all that they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end, and return what it printed: its results, or its complaints when it failed."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=100)
        assert process.returncode == code, (out, err)
        assert "Traceback" not in err
        return err if code else out


@pytest.fixture
def terminal(studio: Studio, tmp_path: Path, repository: Path) -> Terminal:  # noqa: F811
    return Terminal(studio.url, tmp_path, repository)


def test_a_picture_is_drawn_and_saved_with_one_command(terminal: Terminal) -> None:
    options = ["--runtime", "tiny", "--size", "192x128", "--steps", "8", "--seed", "7", "--input", "cfg_scale=5.5"]
    printed = terminal.run("run", "a red circle on a blue background [/]", "-o", "out.png", *options)
    assert printed == "out.png\n"
    with Image.open(terminal.folder / "out.png") as picture:
        assert picture.size == (192, 128)
        assert "CFG scale: 5.5" in picture.info["parameters"]
        assert "Seed: 7" in picture.info["parameters"]


def test_several_pictures_are_numbered_and_a_job_that_was_left_is_saved_later(terminal: Terminal) -> None:
    job = terminal.run("run", "left for later", "--runtime", STAND_IN, "--count", "2", "--detach").strip()
    assert re.fullmatch(r"\w+", job)
    assert terminal.run("save", job) == f"{job}-1.png\n{job}-2.png\n"
    shown = json.loads(terminal.run("show", job, "--json"))
    assert (shown["status"], len(shown["images"])) == ("succeeded", 2)
    assert re.search(rf"{job} +succeeded +{STAND_IN} .* left for later", terminal.run("jobs"))
    assert re.search(r"prompt +left for later", terminal.run("show", job))


def test_a_picture_starts_from_a_file(terminal: Terminal, studio: Studio) -> None:  # noqa: F811
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    (terminal.folder / "in.png").write_bytes(data.getvalue())
    terminal.run("run", "redrawn", "--runtime", STAND_IN, "--image", "in.png", "--strength", "0.4", "-o", "out")
    assert (terminal.folder / "out.png").exists(), "the picture's own extension"
    body = studio.webui.bodies("img2img")[-1]
    assert body["denoising_strength"] == 0.4


def test_what_is_wrong_is_said_at_once_and_the_exit_codes_tell_what_it_was(
    terminal: Terminal,
    studio: Studio,  # noqa: F811
) -> None:
    refused = terminal.run("run", "p", "--runtime", "nobody", "--steps", "9999", code=2)
    assert 'there is no runtime "nobody"' in refused
    told = terminal.run("run", "p", "--runtime", STAND_IN, "--steps", "9999", "--count", "0", code=2)
    assert re.search(r"^  input\.steps: .*1000$", told, re.MULTILINE)
    assert re.search(r"^  input\.batch_size: ", told, re.MULTILINE)
    assert "say 512 or 768x512" in terminal.run("run", "p", "--size", "big", code=2)
    assert "name=value" in terminal.run("run", "p", "--input", "cfg", code=2)
    assert "say what to draw" in terminal.run("run", code=2)
    assert 'there is no job "absent"' in terminal.run("show", "absent", code=1)
    reason = json.dumps({"error": "ValueError", "detail": "", "errors": "Sampler not found"}).encode()
    studio.webui.scripted["txt2img"] = (400, reason)
    assert "Sampler not found" in terminal.run("run", "p", "--runtime", STAND_IN, code=1)
    terminal.environ["DARKROOM_URL"] = "http://127.0.0.1:1"
    assert "http://127.0.0.1:1 cannot be reached" in terminal.run("jobs", code=1)


def test_a_workflow_waits_is_seen_in_its_queue_and_is_cancelled(terminal: Terminal) -> None:
    (terminal.folder / "flow.json").write_text(json.dumps({"prompt": {"3": {"class_type": "Save", "inputs": {}}}}))
    job = terminal.run("run", "--workflow", "flow.json", "--runtime", WORKFLOWS, "-d").strip()
    assert re.search(rf"{WORKFLOWS} +comfyui +\d+ waiting", terminal.run("runtimes"))
    assert terminal.run("cancel", job) == f"{job}: cancelled\n"
    assert f"job {job} cancelled" in terminal.run("save", job, code=1)
    assert job in terminal.run("jobs", "--status", "cancelled")


@pytest.mark.parametrize(
    ("option", "ended"), [("--no-cancel-on-interrupt", "running"), ("--cancel-on-interrupt", "cancelled")]
)
def test_an_interrupt_leaves_the_job_or_cancels_it(
    terminal: Terminal,
    studio: Studio,  # noqa: F811
    option: str,
    ended: str,
) -> None:
    studio.webui.held.clear()
    prompt = f"interrupted with {option}"
    process = terminal.start("run", prompt, "--runtime", STAND_IN, option)

    def found() -> list[dict[str, Any]]:
        listed = requests.get(f"{studio.url}/v1/jobs", timeout=30).json()["jobs"]
        return [each for each in listed if each["context"].get("asked", {}).get("input", {}).get("prompt") == prompt]

    try:
        eventually(lambda: [each for each in found() if each["status"] == "running"], "the job")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    [job] = found()
    assert job["id"] in err
    eventually(lambda: found()[0]["status"] == ended, ended)
