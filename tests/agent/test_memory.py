"""How much memory a job takes beside what it is about: its inputs, and what the server answers."""

import base64
import json
import os
import tracemalloc
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

import pytest

from agent.comfyui.adapter import ComfyUI
from agent.sdwebui.adapter import SdWebui
from agent.settings import Settings
from contract.job import Job, Task
from tests.agent.comfyui import FakeComfyUI
from tests.agent.conftest import RUNTIME, WebUI

pytestmark = pytest.mark.bench

T = TypeVar("T")
MIB = 2**20
INPUT = os.urandom(16 * MIB)


def settings(url: str) -> Settings:
    environment: dict[str, Any] = {"sqs_queue_url": "q", "sns_topic_arn": "t", "s3_bucket": "b", "AWS_REGION": "r"}
    return Settings(**environment, runtime_name=RUNTIME, api_base_url=url, dynamic_sd_model=True)


def fetch(urls: Collection[str]) -> dict[str, bytes]:
    return dict.fromkeys(urls, INPUT)


def peak(call: Callable[[], T]) -> tuple[T, float]:
    """Return what `call` does, and the most MiB that it took at a time."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


def tell(name: str, prepare: float, read: float) -> None:
    text = f"16 MiB of inputs take {prepare:.0f} MiB to prepare, 16 MiB of outputs {read:.0f} MiB to read"
    print(f"\n{name}: {text}")  # noqa: T201 - what `make bench` is for


@pytest.fixture
def comfyui() -> Iterator[FakeComfyUI]:
    server = FakeComfyUI(largest_upload_bytes=64 * MIB)
    server.start()
    yield server
    server.stop()


def test_memory_of_a_job_of_the_web_ui_is_a_few_times_its_bytes(webui: WebUI) -> None:
    web = SdWebui(settings(webui.url))
    content = {"init_images": ["https://h/a.png"]}
    request, prepare = peak(lambda: web.prepare(Job("j", RUNTIME, Task.IMAGE_TO_IMAGE, content), content, fetch))
    answered = json.dumps({"images": [base64.b64encode(INPUT).decode()], "info": "{}", "parameters": {}}).encode()
    webui.scripted["img2img"] = 200, answered
    output, read = peak(lambda: web.read(request, answered))
    assert output.images == [INPUT]
    tell("sdwebui", prepare, read)
    assert prepare <= 4.5 * 16
    assert read <= 3 * 16


# The server's own copies, in this process, count here.
def test_memory_of_a_job_of_comfyui_is_a_few_times_its_bytes(comfyui: FakeComfyUI) -> None:
    comfy = ComfyUI(settings(comfyui.url))
    content = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "https://h/a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
    }
    request, prepare = peak(lambda: comfy.prepare(Job("j", RUNTIME, Task.PIPELINE, content), content, fetch))
    answer = comfy.run(request)
    (name,) = (key for key in comfyui.files if key[0] == "output")
    comfyui.files[name] = INPUT
    output, read = peak(lambda: comfy.read(request, answer))
    assert output.images == [INPUT]
    tell("comfyui", prepare, read)
    assert prepare <= 3 * 16
    assert read <= 3 * 16
