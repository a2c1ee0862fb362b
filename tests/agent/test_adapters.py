"""Adapters: that another one is a class and a line, and that `sdwebui` gets on with a web UI that really draws."""

import base64
import os
import sys
from collections.abc import Collection, Iterator
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from agent.adapter import Fetch, Output
from agent.adapters import ADAPTERS, adapter
from agent.call import Call
from agent.errors import PermanentError
from agent.sdwebui.adapter import SdWebui
from agent.settings import Settings, SettingsError, load
from bootstrap.local.programs import Ports, Program, Programs, answers
from contract.job import Job, Task
from tests.agent.conftest import RUNTIME, Stage, Start, png
from tests.conftest import PATIENCE_S, REPOSITORY, eventually
from webui.tiny.library import SHIPPED

MODEL = "tiny-shapes"


class Echo:
    """An inference server that needs none: the picture of a job is the picture it brings."""

    tasks = frozenset({Task.IMAGE_TO_IMAGE})

    def __init__(self, settings: Settings) -> None:
        self.name = settings.runtime_name

    def ready(self) -> None:
        """Return, always."""

    def prepare(self, job: Job, content: dict[str, Any], fetch: Fetch) -> bytes:
        return fetch([content["image"]])[content["image"]]

    def run(self, request: bytes) -> bytes:
        return request

    def read(self, request: bytes, answer: bytes) -> Output:
        return Output([answer], parameters={"name": self.name})

    def interrupt(self, request: bytes) -> None:
        """Return: there is nothing to wait for."""

    def progress(self) -> None:
        """Return None."""


def test_another_adapter_is_a_class_and_a_line(
    stage: Stage, start: Start, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ADAPTERS, "echo", Echo)
    start(runtime_type="echo")
    metadata = {"id": "e", "runtime": RUNTIME, "tasktype": "image-to-image", "prefix": "out"}
    stage.publish({"metadata": metadata, "content": {"image": site.page("/a.png", png(9))}})
    (notice,) = stage.heard()
    (url,) = notice["image_url"]
    assert stage.read(url.removeprefix(f"s3://{stage.bucket}/")) == png(9)
    assert stage.result()["parameters"] == {"name": RUNTIME}


def test_type_of_runtime_without_an_adapter_is_refused_with_those_that_there_are(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_TYPE", "other")
    with pytest.raises(SettingsError, match="must be one of sdwebui, comfyui"):
        adapter(load())


# --- a web UI that draws


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded web UI, in a process of its own."""
    port = Ports().of("webui", 0)
    url = f"http://127.0.0.1:{port}"
    environ = {"SD_MODEL_CHECKPOINT": f"{MODEL}.safetensors", "MODELS_DIR": str(SHIPPED), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "webui.tiny", "--port", str(port)]
    programs = Programs(tmp_path_factory.mktemp("webui"))
    programs.start(Program("webui", command, os.environ | environ, partial(answers, f"{url}/sdapi/v1/options")))
    try:
        programs.wait_ready("webui")
        yield url
    finally:
        programs.kill()


@pytest.fixture
def web(tiny: str) -> SdWebui:
    settings: dict[str, Any] = {
        "sqs_queue_url": "q",
        "sns_topic_arn": "t",
        "s3_bucket": "b",
        "runtime_name": RUNTIME,
        "AWS_REGION": "us-east-1",
        "api_base_url": tiny,
        "dynamic_sd_model": True,
    }
    web = SdWebui(Settings(**settings))
    web.ready()
    return web


def picture(size: int = 32) -> bytes:
    file = BytesIO()
    Image.new("RGB", (size, size), "red").save(file, "PNG")
    return file.getvalue()


def fetch(urls: Collection[str]) -> dict[str, bytes]:
    return {url: picture() for url in urls}


def done(web: SdWebui, task: Task, content: dict[str, Any]) -> Output:
    request = web.prepare(Job("j", RUNTIME, task, content), content, fetch)
    return web.read(request, web.run(request))


def size(data: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(data)) as image:
        return image.size


def test_pictures_are_drawn_from_text_and_from_pictures(web: SdWebui) -> None:
    content = {"prompt": "a red circle", "steps": 2, "batch_size": 2, "seed": 5}
    drawn = done(web, Task.TEXT_TO_IMAGE, content | {"alwayson_scripts": {"sd_model_checkpoint": MODEL}})
    assert len(drawn.images) == 2
    assert drawn.seeds == [5, 6]
    assert drawn.parameters["steps"] == 2
    assert done(web, Task.TEXT_TO_IMAGE, content).images == drawn.images, "one seed, one picture"
    changed = done(web, Task.IMAGE_TO_IMAGE, {"prompt": "a circle", "steps": 2, "init_images": ["https://h/a.png"]})
    assert len(changed.images) == 1


def test_pictures_are_enlarged_alone_and_together(web: SdWebui) -> None:
    how = {"upscaling_resize": 2, "upscaler_1": "Nearest"}
    one = done(web, Task.EXTRA_SINGLE_IMAGE, how | {"image": "https://h/a.png"})
    assert [size(image) for image in one.images] == [(64, 64)]
    pictures = [{"data": "https://h/a.png", "name": "a"}, {"data": "https://h/b.png", "name": "b"}]
    two = done(web, Task.EXTRA_BATCH_IMAGES, how | {"imageList": pictures})
    assert [size(image) for image in two.images] == [(64, 64)] * 2


def test_drawing_tells_how_far_it_is_and_can_be_interrupted(web: SdWebui) -> None:
    content = {"prompt": "a red circle", "steps": 150, "batch_size": 4}
    request = web.prepare(Job("long", RUNTIME, Task.TEXT_TO_IMAGE, content), content, fetch)
    call = Call(lambda: web.run(request))
    told = eventually(lambda: (it := web.progress()) and it["step"] and it["preview"] and it, "a step")
    assert isinstance(told, dict)
    assert 0 < told["progress"] < 1
    assert told["steps"] == 150
    assert base64.b64decode(told["preview"].removeprefix("data:image/png;base64,"), validate=True)
    web.interrupt(request)
    assert call.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"sampler_name": "Nowhere"}, "Sampler not found"),
        ({"alwayson_scripts": {"Nowhere": {"args": []}}}, "always on script Nowhere not found"),
        ({"steps": "many"}, "body.steps"),
    ],
)
def test_what_the_web_ui_refuses_fails_the_job_with_its_words(web: SdWebui, content: dict[str, Any], told: str) -> None:
    with pytest.raises(PermanentError, match=told):
        done(web, Task.TEXT_TO_IMAGE, content)
