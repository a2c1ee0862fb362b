"""What comes of jobs that cannot succeed, and of those that can only not succeed now."""

import json
from typing import Any

import pytest

from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Site, Stage, Start, WebUI
from tests.conftest import eventually


def job(job_id: str = "j", task: Task = Task.TEXT_TO_IMAGE, **content: Any) -> str:
    return encode(Job(job_id, RUNTIME, task, {"prompt": "p", "seed": 1} | content, context={"c": 1}, form=Form.V1))


def failure_of(stage: Stage) -> dict[str, Any]:
    """The failure of the only job, told in its result, its output document and its notice alike."""
    result = stage.result()
    assert result["status"] == "failed"
    assert result["images"] == []
    document = stage.json(result["output_url"].removeprefix(f"s3://{stage.bucket}/"))
    (notice,) = stage.heard()
    message = result["failure"]["message"]
    assert document.get("parameters", document)["error_msg"] == message
    assert (notice["result"], notice["status"], notice["error_msg"]) == (False, "failed", message)
    assert notice["_attributes"]["status"] == "failed"
    assert notice["context"] == {"c": 1}
    return dict(result["failure"])


def message(job_id: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"id": job_id, "tasktype": "text-to-image"}, "content": {}} | more


@pytest.mark.parametrize(
    ("body", "told_id"),
    [
        pytest.param("not JSON at all", None, id="text"),
        pytest.param('{"Type": "Notification", "Message": "{"}', None, id="broken envelope"),
        pytest.param("[" * 5000, None, id="brackets"),
        pytest.param({"metadata": {"id": "half", "runtime": RUNTIME}, "content": {}}, "half", id="no task"),
        pytest.param(message("../../etc"), "../../etc", id="path as id"),
        pytest.param({"alwayson_scripts": {"id_task": "old", "task": "none"}}, "old", id="oldest form"),
        pytest.param({"metadata": {"id": 17}, "content": {}}, "17", id="number as id"),
        pytest.param({"Type": "Notification"} | message("odd", content=[]), "odd", id="no envelope"),
        pytest.param(message("deep", content=json.loads('{"a":' * 200 + "1" + "}" * 200)), "deep", id="too deep"),
        pytest.param(message("smile", content={"prompt": "\ud83d"}), "smile", id="half a character"),
        pytest.param(json.dumps(message("far", content={"x": float("inf")})), "far", id="infinity"),
    ],
)
def test_message_that_is_no_job_leaves_a_record_and_a_notice(
    stage: Stage, start: Start, webui: WebUI, body: Any, told_id: str | None
) -> None:
    stage.send(body)
    start()
    result = stage.result()
    (key,) = [key for key in stage.objects("jobs/") if key.endswith("result.json")]
    assert key == f"jobs/{result['key']}/result.json"
    assert key.startswith("jobs/malformed~")
    assert result["failure"]["code"] == "invalid-job"
    assert result["id"] == (told_id or result["key"].partition("~")[2])
    (notice,) = stage.heard()
    told = notice.get("parameters", notice)
    assert told["error_msg"] == result["failure"]["message"]
    assert notice["_attributes"] == {"runtime": RUNTIME, "status": "failed", "id": result["id"], "key": result["key"]}
    assert webui.asked == []


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"task": Task.PIPELINE}, "unsupported-task", "pipeline"),
        ({"alwayson_scripts": {"sd_model_checkpoint": "other"}}, "wrong-model", "tiny.safetensors"),
        ({"override_settings": {"sd_model_checkpoint": "other"}}, "wrong-model", "tiny.safetensors"),
        ({"alwayson_scripts": ["no object"]}, "invalid-content", "must be an object"),
        ({"steps": "many"}, "runtime-error", "body.steps: not an integer"),
        ({"task": Task.EXTRA_SINGLE_IMAGE, "image": "file:///etc/passwd"}, "input-not-allowed", "http, https or s3"),
        ({"task": Task.EXTRA_SINGLE_IMAGE, "image": "s3://elsewhere/a.png"}, "input-not-allowed", "'elsewhere'"),
        ({"task": Task.EXTRA_SINGLE_IMAGE, "image": "{site}/missing?secret=1"}, "input-unavailable", "HTTP 404"),
    ],
)  # fmt: skip
def test_job_that_can_never_succeed_fails_at_once_with_the_reason(
    stage: Stage, start: Start, site: Site, change: dict[str, Any], code: str, told: str
) -> None:
    stage.send(job(**json.loads(json.dumps(change).replace("{site}", site.url))))
    start()
    failure = failure_of(stage)
    assert failure["code"] == code
    assert told in failure["message"]
    assert "secret" not in failure["message"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((500, b'{"error":"HTTPException","detail":"Invalid encoded image","body":"","errors":""}'), "runtime-error"),
        ((200, b"<html>not JSON</html>"), "bad-answer"),
        ((200, b"[1]"), "bad-answer"),
        ((200, b'{"images":[],"parameters":{},"info":"{}"}'), "no-images"),
        ((200, b'{"images":[""],"parameters":{},"info":"{}"}'), "no-images"),
        ((200, b'{"images":["!!"],"parameters":{},"info":"broken"}'), "bad-answer"),
    ],
    ids=["its own refusal", "no JSON", "no object", "no pictures", "empty picture", "no base64"],
)
def test_answer_that_no_retry_would_mend_fails_the_job(
    stage: Stage, start: Start, webui: WebUI, answer: tuple[int, bytes], code: str
) -> None:
    webui.scripted["txt2img"] = answer
    stage.send(job())
    start()
    assert failure_of(stage)["code"] == code
    assert webui.asked == ["POST txt2img"], "a POST is sent once"


@pytest.mark.parametrize(
    "answer",
    [
        (500, b'{"error":"OutOfMemoryError","detail":"","body":"","errors":"CUDA out of memory"}'),
        (500, b"Internal Server Error"),
        (503, b""),
        (404, b'{"detail":"Not Found"}'),
        (0, b'{"images":'),
    ],
    ids=["out of memory", "crash", "starting", "no API yet", "half an answer"],
)
def test_trouble_of_the_server_is_tried_again(
    stage: Stage, start: Start, webui: WebUI, answer: tuple[int, bytes]
) -> None:
    webui.once["txt2img"] = answer
    stage.send(job())
    start()
    result = stage.result()
    assert result["status"] == "succeeded"
    assert result["attempt"] == 2
    assert len(stage.heard()) == 1


def test_last_attempt_leaves_a_result_and_the_message_goes_to_the_dead_letters(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    webui.scripted["txt2img"] = 500, b'{"error":"OutOfMemoryError","errors":"CUDA out of memory"}'
    stage.send(job())
    start(max_receive_count=3)
    failure = failure_of(stage)
    assert failure["code"] == "gpu-error"
    assert "out of memory" in failure["message"]
    assert stage.results()[0]["attempt"] == 3
    assert webui.asked == ["POST txt2img"] * 3
    eventually(lambda: stage.depth(stage.dead_letters_url) == (1, 0), "the dead letter")


def test_job_that_takes_too_long_is_interrupted_and_fails(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(job())
    start(job_timeout_seconds=0.5)
    failure = failure_of(stage)
    assert failure["code"] == "timeout"
    assert webui.asked == ["POST txt2img", "POST interrupt"]
    webui.held.set()
    stage.send(job("next"))
    eventually(lambda: len(stage.results()) == 2, "the next job")


def test_server_that_ignores_an_interrupt_gets_nothing_more_until_it_is_done(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    webui.held.clear()
    webui.heeds_interrupts = False
    stage.send(job())

    agent = start(lambda pipeline: setattr(pipeline.server, "_interrupt_s", 0.1), job_timeout_seconds=1)
    assert failure_of(stage)["code"] == "timeout"
    assert not agent.pipeline.ready()
    stage.send(job("next"))
    webui.held.set()
    eventually(lambda: len(stage.results()) == 2, "the next job")
    assert webui.asked == ["POST txt2img", "POST interrupt", "POST txt2img"]


def test_lost_web_ui_gives_its_job_back_and_nothing_is_received_until_it_is_there_again(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    webui.held.clear()
    stage.send(job("running"))
    agent = start(prefetch=1, visibility_timeout_seconds=600)
    eventually(lambda: webui.asked, "the start")
    stage.send(job("waiting"))
    eventually(lambda: stage.depth() == (0, 2), "both jobs held")

    webui.stop()
    eventually(lambda: stage.depth() == (2, 0), "the return of both, long before their visibility ends")
    assert not agent.pipeline.ready()
    webui.held.set()
    webui.start()
    eventually(lambda: len(stage.results()) == 2 and stage.empty(), "both jobs")
    assert {result["status"] for result in stage.results()} == {"succeeded"}
    assert len(stage.heard(2)) == 2
