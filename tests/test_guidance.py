"""Clients of the guidance, from their request to their callback: API and agent together answer as its code does.

The expected documents are those that the guidance's versions write, spelled out; `test_guidance_requests.py` of the API
has what is refused, and `test_comfyui.py` of the agent workflows.
"""

import json
import re
from typing import Any

import pytest

from api.app import create_app
from api.aws import connect
from api.settings import Settings
from contract import keys
from tests.agent.conftest import (  # noqa: F401 - fixtures
    RUNTIME,
    Site,
    Stage,
    Start,
    WebUI,
    clients,
    png,
    site,
    stage,
    start,
    webui,
)
from tests.api.conftest import Client

HEADER = {"task": "text-to-image", "sd_model_checkpoint": "tiny.safetensors", "id_task": "31415", "uid": "456"}
DRAWING = {"prompt": "a red circle", "steps": 16, "seed": 7, "n_iter": 2}


@pytest.fixture
def api(stage: Stage) -> Client:  # noqa: F811
    """The API in front of the stage."""
    table = [{"name": RUNTIME, "type": "sdwebui", "model": "tiny.safetensors"}]
    stage.s3.put_object(Bucket=stage.bucket, Key=keys.RUNTIMES, Body=json.dumps(table).encode())
    settings = Settings(sns_topic_arn=stage.input_arn, s3_output_bucket=stage.bucket, runtimes_bucket=stage.bucket)
    return Client(create_app(settings, connect()))


def played(api: Client, stage: Stage, path: str, body: Any) -> tuple[dict[str, Any], dict[str, Any], list[str]]:  # noqa: F811
    """Return what a client is answered, what its callback says, and the keys of the job's outputs."""
    known = len(stage.notices())
    answer = api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    callback = stage.heard(known + 1)[-1]
    told = callback.pop("_attributes")
    assert told["runtime"] == RUNTIME
    folder = answer.json()["output_location"].removeprefix(f"s3://{stage.bucket}/")
    return answer.json(), callback, stage.objects(f"{folder}/")


def test_the_first_form(api: Client, stage: Stage, start: Start) -> None:  # noqa: F811
    start()
    body = {"alwayson_scripts": HEADER, **DRAWING}
    answer, callback, outputs = played(api, stage, "/", body)
    assert answer == {
        "id_task": "31415",
        "task": "text-to-image",
        "sd_model_checkpoint": "tiny.safetensors",
        "output_location": f"s3://{stage.bucket}/31415",
    }
    *pictures, document = outputs
    assert document == "31415/response.out"
    assert [stage.read(key) for key in pictures] == [png(7), png(8)]
    assert stage.json(document) == callback, "the output document and the callback are one"
    assert (set(callback), callback["images"], callback["info"]) == ({"images", "parameters", "info"}, [""], "")
    assert {
        "id_task": "31415",
        "status": 1,
        "image_url": ",".join(f"s3://{stage.bucket}/{key}" for key in pictures),
        "seed": "7,8",
        "error_msg": "",
        "image_mask_url": "",
        "prompt": "a red circle",  # with the web UI's parameters, as of its first release candidate
    }.items() <= callback["parameters"].items()

    refused = {"alwayson_scripts": HEADER | {"id_task": "27182"}, **DRAWING, "steps": "many"}
    _, callback, outputs = played(api, stage, "/", refused)
    assert outputs == ["27182/response.out"]
    assert stage.json(outputs[0]) == callback
    assert callback["parameters"].pop("error_msg")
    failed = {"id_task": "27182", "status": 0, "image_url": "", "seed": [], "image_mask_url": ""}
    assert failed.items() <= callback["parameters"].items()


def test_v1alpha1(api: Client, stage: Stage, start: Start) -> None:  # noqa: F811
    start()
    body = {"alwayson_scripts": HEADER | {"save_dir": "some/folder"}, **DRAWING}
    answer, callback, outputs = played(api, stage, "/v1alpha1", body)
    assert answer == {
        "id_task": "31415",
        "sd_model_checkpoint": "tiny.safetensors",
        "output_location": f"s3://{stage.bucket}/some/folder/31415",
    }
    pictures, document = named(outputs, "some/folder/31415/31415")
    assert callback == completed("31415", stage, pictures, document, {})
    written(stage, document, {"id_task": "31415", "image_seed": "7,8", "error_msg": "", "prompt": "a red circle"})


def test_v1alpha2(api: Client, stage: Stage, start: Start, site: Site) -> None:  # noqa: F811
    start()
    context = {"userId": 123}

    def task(job_id: str, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        metadata = {"id": job_id, "runtime": RUNTIME, "tasktype": kind, "prefix": "output", "context": context}
        return {"task": {"metadata": metadata, "content": content}}

    answer, callback, outputs = played(api, stage, "/v1alpha2", task("test-t2i", "text-to-image", DRAWING))
    assert answer == {"id": "test-t2i", "runtime": RUNTIME, "output_location": f"s3://{stage.bucket}/output/test-t2i"}
    pictures, document = named(outputs, "output/test-t2i/test-t2i")
    assert [stage.content_type(key) for key in (*pictures, document)] == ["image/png", "image/png", "application/json"]
    assert callback == completed("test-t2i", stage, pictures, document, context)
    written(stage, document, {"id_task": "test-t2i", "image_seed": "7,8", "error_msg": ""})

    link = site.page("/a.png", png(3))
    _, callback, outputs = played(api, stage, "/v1alpha2", task("test-esi", "extra-single-image", {"image": link}))
    pictures, document = named(outputs, "output/test-esi/test-esi")
    assert [stage.read(key) for key in pictures] == [png(3)]
    assert callback == completed("test-esi", stage, pictures, document, context)
    written(stage, document, {"id_task": "test-esi", "error_msg": "", "html_info": "<p>larger</p>"})

    refused = task("test-bad", "text-to-image", DRAWING | {"steps": "many"})
    _, callback, outputs = played(api, stage, "/v1alpha2", refused)
    pictures, document = named(outputs, "output/test-bad/test-bad")
    assert pictures == []
    failed = {**completed("test-bad", stage, [], document, context), "result": False, "status": "failed"}
    assert failed.items() <= callback.items()
    parameters = stage.json(document)["parameters"]
    assert parameters.keys() == {"id_task", "status", "error_msg", "reason"}
    assert (parameters["id_task"], parameters["status"], bool(parameters["error_msg"])) == ("test-bad", 0, True)
    assert parameters["reason"]["detail"][0]["loc"] == ["body", "steps"], "what the web UI answered"


def named(outputs: list[str], start: str) -> tuple[list[str], str]:  # noqa: F811
    """Return the pictures and the document among a job's outputs, which are named `<start>-<4 hex digits>…`."""
    assert all(re.fullmatch(rf"{start}-[0-9a-f]{{4}}(-[1-9]\.png|\.out)", key) for key in outputs)
    *pictures, document = sorted(outputs, key=lambda key: (key.endswith(".out"), key))
    assert [key[-6:] for key in pictures] == [f"-{number}.png" for number in range(1, len(pictures) + 1)]
    return pictures, document


def completed(job_id: str, stage: Stage, pictures: list[str], document: str, context: Any) -> dict[str, Any]:  # noqa: F811
    """Return the newest version's callback, which has all that the one before has."""
    return {
        "runtime": RUNTIME,
        "id": job_id,
        "result": True,
        "status": "completed",
        "image_url": [f"s3://{stage.bucket}/{key}" for key in pictures],
        "output_url": f"s3://{stage.bucket}/{document}",
        "context": context,
    }


def written(stage: Stage, document: str, parameters: dict[str, Any]) -> None:  # noqa: F811
    """Check an output document of a success."""
    found = stage.json(document)
    assert (set(found), found["images"], found["info"]) == ({"images", "parameters", "info"}, [""], "")
    assert parameters.items() <= found["parameters"].items()
