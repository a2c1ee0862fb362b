"""`make demo`, as a newcomer meets it: one command, a picture, and a cluster that follows the commits."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import yaml
from PIL import Image

from tests.api.receiver import receiving
from tests.bootstrap.conftest import Demo
from tests.conftest import commit, eventually

BLUE, RED = 2, 0


def change(checkout: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the local cluster's configuration, render, and commit, as a platform engineer does."""
    path = checkout / "clusters" / "local" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    edit(config)
    path.write_text(yaml.safe_dump(config))
    subprocess.run([sys.executable, "generator/render.py"], cwd=checkout, check=True)
    commit(checkout, "change")


def color_at(picture: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The mean color around a place that is given in parts of the picture."""
    width, height = picture.size
    around = picture.convert("RGB").crop(
        (int(x * width) - 4, int(y * height) - 4, int(x * width) + 4, int(y * height) + 4)
    )
    pixel = around.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel


def test_one_command_draws_what_was_asked_for_and_leaves_nothing_behind(run: Callable[..., Demo]) -> None:
    demo = run("--once", "--prompt", "a big red circle on a blue background [/]")
    assert demo.process.wait(120) == 0, demo.output
    last = demo.output.splitlines()[-1]
    assert last.startswith("image: ")
    picture = Image.open(last.removeprefix("image: "))
    corner, middle = color_at(picture, 0.05, 0.05), color_at(picture, 0.5, 0.5)
    assert max(corner) == corner[BLUE], f"the background is not blue: {corner}"
    assert max(middle) == middle[RED], f"the middle is not red: {middle}"
    assert "a big red circle on a blue background" in picture.info["parameters"]
    assert demo.programs() == {}


def test_usual_ports_that_are_taken_are_replaced(run: Callable[..., Demo]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        del other
        blockers = []
        for port in (4566, 8000, 8080, 9090):
            try:
                blockers.append(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue  # somebody else has it, which serves as well
        try:
            demo = run("--once")
            assert demo.process.wait(120) == 0, demo.output
        finally:
            for blocker in blockers:
                blocker.close()
    assert not re.search(r"127\.0\.0\.1:(4566|8000|8080|9090)\b", demo.output)


def test_a_commit_adds_a_runtime_that_serves_whose_webhook_is_told_and_another_removes_it(
    run: Callable[..., Demo], checkout: Path
) -> None:
    demo = run()
    demo.wait_for("^image: ")
    change(checkout, lambda config: config["modelsRuntime"].append({"name": "second", "dynamicModel": True}))
    demo.wait_for(r"\+ runtime second")
    with receiving() as receiver:
        drawn = demo.draw("a green square", runtime="second", webhook=receiver.url)
        assert (drawn["status"], drawn["runtime"]) == ("succeeded", "second"), drawn
        eventually(lambda: receiver.got, "the webhook")
        [told] = receiver.verified((checkout / ".run" / "local" / "webhook-secret").read_text())
        assert (told["type"], told["data"]["id"]) == ("job.succeeded", drawn["id"])
    queues = requests.get(f"{demo.api}/v1/runtimes", timeout=10).json()
    assert [each["name"] for each in queues["runtimes"]] == ["tiny", "second"]

    change(checkout, lambda config: config["modelsRuntime"].pop())
    demo.wait_for(r"- runtime second")
    deadline = time.monotonic() + 20
    while True:
        refused = requests.post(f"{demo.api}/v1/jobs", json={"runtime": "second", "input": {}}, timeout=10)
        if refused.status_code != 202 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert refused.status_code == 422
    assert "tiny" in refused.text
    assert "second" not in " ".join(demo.programs().values())
    assert demo.stop() == 0
    assert demo.programs() == {}


def test_mistakes_in_commits_are_named_and_what_runs_goes_on(run: Callable[..., Demo], checkout: Path) -> None:
    demo = run()
    demo.wait_for("^image: ")
    config = checkout / "clusters" / "local" / "config.yaml"
    rendered = checkout / "clusters" / "local" / "rendered"
    claim = rendered / "claims" / "runtimes" / "tiny.yaml"
    application = rendered / "applications" / "runtimes" / "tiny.yaml"
    claim_before, application_before = claim.read_text(), application.read_text()

    # A claim that is refused, beside a runtime that would otherwise be started anew.
    claim.write_text(claim_before.replace("spec:\n", "spec:\n  queue: {maxReceiveCount: 0}\n"))
    application.write_text(application_before.replace("tiny-shapes.safetensors", "other.safetensors"))
    commit(checkout, "break both")
    demo.wait_for(r"not deployed: .*maxReceiveCount: 0 is less than the minimum of 1")
    assert demo.draw("a red circle")["status"] == "succeeded"

    claim.write_text("<<<<<<< HEAD\n" + claim_before)
    commit(checkout, "leave a conflict")
    demo.wait_for(r"not deployed: .*tiny\.yaml is not a manifest")

    change(checkout, lambda config: config.update(stackName="renamed"))
    demo.wait_for(r"not deployed: .*apiRef: the queue is named after the InferenceAPI")
    assert demo.draw("a red circle")["status"] == "succeeded"

    change(checkout, lambda config: config.update(stackName="darkroom-local"))
    config.write_text(config.read_text().replace("name: tiny", "name: other"))
    commit(checkout, "forget to render")
    demo.wait_for(r"config\.yaml says something else than what is rendered: run `make render` and commit")

    def absent_model(config: dict[str, Any]) -> None:
        config["modelsRuntime"] = [
            {"name": "tiny", "dynamicModel": True},
            {"name": "second", "modelFilename": "absent.safetensors"},
        ]

    change(checkout, absent_model)
    demo.wait_for(r"~ runtime tiny")
    demo.wait_for(r"! runtime second is not started: there is no model absent\.safetensors here")
    assert demo.draw("a red circle", runtime="tiny")["status"] == "succeeded"


def test_an_agent_killed_in_the_middle_of_a_job_is_replaced_and_the_job_has_one_result(
    run: Callable[..., Demo],
) -> None:
    demo = run()
    demo.wait_for("^image: ")
    body = {"id": "interrupted", "input": {"prompt": "a red circle", "steps": 60, "batch_size": 2}}
    requests.post(f"{demo.api}/v1/jobs", json=body, timeout=10).raise_for_status()
    while requests.get(f"{demo.api}/v1/jobs/interrupted", timeout=10).json()["status"] != "running":
        time.sleep(0.05)
    (agent,) = [pid for pid, command in demo.programs().items() if command.rstrip().endswith("-m agent")]
    os.kill(agent, signal.SIGKILL)
    demo.wait_for(r"tiny-agent ended with code -9; it starts again in 1 s")
    ended = demo.end_of("interrupted", seconds=240)
    assert ended["status"] == "succeeded"
    assert len(ended["images"]) == 2
    for image in ended["images"]:
        picture = requests.get(image["url"], timeout=10)
        assert Image.open(io.BytesIO(picture.content)).size == (512, 512)


def test_a_second_demo_in_the_same_clone_says_which_one_runs(run: Callable[..., Demo]) -> None:
    demo = run()
    demo.wait_for("^image: ")
    second = run("--once")
    assert second.process.wait(30) == 1
    assert f"this cluster runs already, as process {demo.process.pid}" in second.output


def test_outside_of_git_the_demo_says_what_it_needs(run: Callable[..., Demo], checkout: Path) -> None:
    (checkout / ".git").rename(checkout.parent / "not-git")
    demo = run("--once")
    assert demo.process.wait(60) == 1
    assert "The embedded cluster runs what is committed" in demo.output
