"""What comes of a job, in every form that a client can send one."""

import base64
import json
from typing import Any

import pytest

from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Site, Stage, Start, WebUI, png
from tests.conftest import eventually

SEED_MESSAGE = {
    "alwayson_scripts": {
        "task": "text-to-image",
        "sd_model_checkpoint": "tiny.safetensors",
        "id_task": "old-1",
        "uid": "somebody",
        "save_dir": "outputs",
    },
    "prompt": "a red circle",
    "seed": 11,
    "batch_size": 2,
    "s3_output_path": "anything/old-1",
}
HEAD_MESSAGE = {
    "metadata": {"id": "mid-1", "runtime": "legacy", "tasktype": "text-to-image", "prefix": "outputs", "context": {}},
    "content": {
        "alwayson_scripts": {
            "task": "text-to-image",
            "sd_model_checkpoint": "tiny.safetensors",
            "id_task": "mid-1",
            "save_dir": "outputs",
        },
        "prompt": "a red circle",
        "seed": 11,
        "batch_size": 2,
        "s3_output_path": "anything",
    },
}
SUCC_MESSAGE = {
    "metadata": {
        "id": "new-1",
        "runtime": RUNTIME,
        "tasktype": "text-to-image",
        "prefix": "some/where/",
        "context": {"user": 7},
    },
    "content": {"prompt": "a red circle", "seed": 11, "batch_size": 2},
}


def v1(job_id: str = "v1-1", **content: Any) -> str:
    body = {"prompt": "a red circle", "seed": 11} | content
    return encode(Job(job_id, RUNTIME, Task.TEXT_TO_IMAGE, body, context=["mine"], form=Form.V1))


@pytest.mark.parametrize("enveloped", [True, False], ids=["in an SNS envelope", "delivered raw"])
def test_message_of_the_oldest_form_is_answered_as_its_clients_expect(
    stage: Stage, start: Start, webui: WebUI, enveloped: bool
) -> None:
    (stage.publish if enveloped else stage.send)(SEED_MESSAGE)
    start()
    result = stage.result()

    digits = result["images"][0].rpartition("-")[0].rpartition("-")[2]
    pictures = [f"old-1/old-1-{digits}-{number}.png" for number in (1, 2)]
    assert stage.objects("old-1/") == [*pictures, "old-1/response.out"]
    assert [stage.read(key) for key in pictures] == [png(11), png(12)]
    assert {stage.content_type(key) for key in pictures} == {"image/png"}

    urls = [f"s3://{stage.bucket}/{key}" for key in pictures]
    (notice,) = stage.heard()
    assert notice.pop("_attributes") == {"runtime": RUNTIME, "status": "completed", "id": "old-1", "key": result["key"]}
    assert notice == stage.json("old-1/response.out")
    assert set(notice) == {"images", "parameters", "info"}
    told = notice["parameters"]
    assert told["id_task"] == "old-1"
    assert told["status"] == 1
    assert told["image_url"] == ",".join(urls)
    assert told["seed"] == "11,12"
    assert told["error_msg"] == ""
    assert told["image_mask_url"] == ""
    assert told["prompt"] == "a red circle"

    (body,) = webui.bodies("txt2img")
    assert body == {
        "prompt": "a red circle",
        "seed": 11,
        "subseed": body["subseed"],
        "batch_size": 2,
        "override_settings": {},
        "send_images": True,
    }


@pytest.mark.parametrize("enveloped", [True, False], ids=["in an SNS envelope", "delivered raw"])
@pytest.mark.parametrize(
    ("message", "folder", "runtime", "context"),
    [(HEAD_MESSAGE, "outputs/mid-1", RUNTIME, {}), (SUCC_MESSAGE, "some/where/new-1", RUNTIME, {"user": 7})],
    ids=["v1alpha1", "v1alpha2"],
)
def test_message_of_the_newer_forms_is_answered_as_their_clients_expect(
    stage: Stage,
    start: Start,
    message: dict[str, Any],
    folder: str,
    runtime: str,
    context: Any,
    enveloped: bool,
) -> None:
    (stage.publish if enveloped else stage.send)(message)
    start()
    result = stage.result()

    job_id = message["metadata"]["id"]
    digits = result["output_url"].rpartition("-")[2].removesuffix(".out")
    pictures = [f"{folder}/{job_id}-{digits}-{number}.png" for number in (1, 2)]
    document = f"{folder}/{job_id}-{digits}.out"
    assert stage.objects(folder) == sorted([*pictures, document])
    assert stage.content_type(document) == "application/json"
    told = stage.json(document)
    assert told["images"] == [""]
    assert told["info"] == ""
    assert {key: told["parameters"][key] for key in ("id_task", "image_seed", "error_msg", "prompt")} == {
        "id_task": job_id,
        "image_seed": "11,12",
        "error_msg": "",
        "prompt": "a red circle",
    }
    assert stage.heard() == [
        {
            "runtime": runtime,
            "id": job_id,
            "result": True,
            "status": "completed",
            "image_url": [f"s3://{stage.bucket}/{key}" for key in pictures],
            "output_url": f"s3://{stage.bucket}/{document}",
            "context": context,
            "_attributes": {"runtime": runtime, "status": "completed", "id": job_id, "key": result["key"]},
        }
    ]


def test_result_of_a_v1_job_tells_everything(stage: Stage, start: Start) -> None:
    stage.send(v1())
    start()
    result = stage.result()

    assert stage.objects("jobs/") == ["jobs/v1-1/result.json", "jobs/v1-1/started.json"]
    image, document = stage.objects("output/")
    times = {name: result.pop(name) for name in ("created_at", "started_at", "finished_at")}
    assert times["created_at"] <= times["started_at"] <= times["finished_at"]
    timings = result.pop("timings")
    assert set(timings) == {"queue", "fetch", "inference", "store"}
    assert all(seconds >= 0 for seconds in timings.values())
    parameters = result.pop("parameters")
    assert parameters["prompt"] == "a red circle"
    assert "sampler_name" not in parameters, "nulls are left out"
    assert result == {
        "id": "v1-1",
        "key": "v1-1",
        "runtime": RUNTIME,
        "task": "text-to-image",
        "form": "v1",
        "status": "succeeded",
        "failure": None,
        "images": [f"s3://{stage.bucket}/{image}"],
        "masks": [],
        "output_url": f"s3://{stage.bucket}/{document}",
        "seeds": [11],
        "context": ["mine"],
        "attempt": 1,
    }
    started = stage.json("jobs/v1-1/started.json")
    assert started == {
        "started_at": started["started_at"],
        "attempt": 1,
        "runtime": RUNTIME,
        "task": "text-to-image",
    }


def test_request_of_an_old_form_is_one_job_however_often_delivered_and_another_one_when_posted_again(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    webui.once["txt2img"] = 503, b"busy"
    request = {"prompt": "p", "alwayson_scripts": {"task": "text-to-image", "id_task": "same"}}
    stage.publish(request)
    start()
    first = stage.result()
    assert first["attempt"] == 2
    stage.publish(request)
    results = eventually(lambda: found if len(found := stage.results()) == 2 else [], "the second job")
    assert {result["id"] for result in results} == {"same"}
    assert len({result["key"] for result in results}) == 2
    assert all(result["key"].startswith("same~") for result in results)
    again, first_attempt_of_second = webui.bodies("txt2img")[1:]
    assert again["seed"] != first_attempt_of_second["seed"], "who asks again wants another picture"


def test_grid_and_control_maps_are_no_pictures_of_the_batch(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.grid, webui.maps = True, 1
    stage.send(SEED_MESSAGE)
    start()
    result = stage.result()

    def pictures(urls: list[str]) -> list[bytes]:
        return [stage.read(url.removeprefix(f"s3://{stage.bucket}/")) for url in urls]

    assert pictures(result["images"]) == [png(11), png(12)]
    assert pictures(result["masks"]) == [png(1), png(0)], "the map, then the grid"
    (notice,) = stage.heard()
    assert notice["parameters"]["image_mask_url"] == ",".join(result["masks"])


def test_job_without_a_seed_draws_the_same_pictures_in_every_attempt(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.once["txt2img"] = 503, b"busy"
    stage.send(v1(seed=-1))
    start()
    result = stage.result()
    first, last = webui.bodies("txt2img")
    assert result["attempt"] == 2
    assert first == last
    assert result["seeds"] == [first["seed"]]
    assert first["seed"] >= 0


def test_images_by_url_reach_the_web_ui_as_base64_and_urls_in_prompts_stay_text(
    stage: Stage, start: Start, webui: WebUI, site: Site
) -> None:
    stage.s3.put_object(Bucket=stage.bucket, Key="in/mask.png", Body=b"the mask")
    content = {
        "prompt": f"{site.url}/not-an-image",
        "init_images": [site.page("/a.png", b"first"), "AAAA"],
        "mask": f"s3://{stage.bucket}/in/mask.png",
        "alwayson_scripts": {"controlnet": {"args": [{"image_link": site.page("/b.png", b"unit"), "module": "canny"}]}},
    }
    stage.send(encode(Job("i2i", RUNTIME, Task.IMAGE_TO_IMAGE, content)))
    start()
    assert stage.result()["status"] == "succeeded"

    (body,) = webui.bodies("img2img")
    assert body["prompt"] == f"{site.url}/not-an-image"
    assert [base64.b64decode(image) for image in body["init_images"]] == [b"first", base64.b64decode("AAAA")]
    assert base64.b64decode(body["mask"]) == b"the mask"
    (unit,) = body["alwayson_scripts"]["controlnet"]["args"]
    assert unit == {"module": "canny", "input_image": base64.b64encode(b"unit").decode()}
    assert sorted(site.visits) == ["/a.png", "/b.png"]


@pytest.mark.parametrize(
    ("task", "content", "pictures"),
    [
        (Task.EXTRA_SINGLE_IMAGE, {"image": "{site}/a.gif"}, [b"GIF89a one"]),
        (
            Task.EXTRA_BATCH_IMAGES,
            {"imageList": [{"data": "{site}/a.gif", "name": "a"}, {"data": "{site}/b.jpg", "name": "b"}]},
            [b"GIF89a one", b"\xff\xd8\xff two"],
        ),
    ],
)
def test_extras_give_their_pictures_under_the_names_of_their_kinds(
    stage: Stage, start: Start, site: Site, task: Task, content: dict[str, Any], pictures: list[bytes]
) -> None:
    site.page("/a.gif", b"GIF89a one")
    site.page("/b.jpg", b"\xff\xd8\xff two")
    stage.send(encode(Job("ex", RUNTIME, task, json.loads(json.dumps(content).replace("{site}", site.url)))))
    start()
    result = stage.result()
    keys = [url.removeprefix(f"s3://{stage.bucket}/") for url in result["images"]]
    assert [stage.read(key) for key in keys] == pictures
    assert [key.rpartition(".")[2] for key in keys] == ["gif", "jpg"][: len(keys)]
    assert result["parameters"] == {"html_info": "<p>larger</p>"}


def test_content_too_large_for_a_message_is_read_from_the_job_s_record(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    content = {"prompt": "long " * 1000, "seed": 5}
    stage.s3.put_object(Bucket=stage.bucket, Key="jobs/big/content.json", Body=json.dumps(content))
    stage.send(encode(Job("big", RUNTIME, Task.TEXT_TO_IMAGE, {}, content_ref="jobs/big/content.json")))
    start()
    assert stage.result()["status"] == "succeeded"
    assert webui.bodies("txt2img")[0]["prompt"] == content["prompt"]


def test_start_and_progress_are_told_while_a_job_runs(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(v1())
    start(exp_callback_when_running="true")
    eventually(lambda: "jobs/v1-1/progress.json" in stage.objects("jobs/"), "progress")
    progress = stage.json("jobs/v1-1/progress.json")
    assert progress.pop("updated_at")
    assert progress.pop("preview") == "data:image/png;base64," + base64.b64encode(png(7)).decode()
    assert progress == {"progress": 0.3, "step": 3, "steps": 10, "eta_s": 2.5}
    assert stage.heard() == [
        {
            "runtime": RUNTIME,
            "id": "v1-1",
            "status": "running",
            "context": ["mine"],
            "_attributes": {"runtime": RUNTIME, "status": "running", "id": "v1-1", "key": "v1-1"},
        }
    ]
    webui.held.set()
    assert [notice["status"] for notice in stage.heard(2)] == ["running", "completed"]


def test_progress_that_cannot_be_had_or_stored_does_not_touch_the_job(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.scripted["progress"] = 500, b"<html>"
    webui.held.clear()
    stage.send(v1())
    start()
    eventually(lambda: ("GET progress", None) in webui.calls, "a look at the progress")
    webui.held.set()
    assert stage.result()["status"] == "succeeded"
