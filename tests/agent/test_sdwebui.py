"""What the web UI is asked for, and which model draws."""

import base64
import json
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.call import Call
from agent.errors import JobError, PermanentError, RuntimeLostError, TransientError
from agent.inference import Server
from agent.sdwebui.adapter import SdWebui
from agent.sdwebui.answer import drawn, enlarged, info, parsed, preview, refusal
from agent.sdwebui.body import asked, embedded, parameters, urls
from agent.sdwebui.models import Model
from agent.settings import Settings
from contract.job import Form, Job, Task, unsound
from tests.agent.conftest import RUNTIME, WebUI, png
from tests.agent.fuzz import fuzzed, json_values
from tests.conftest import PATIENCE_S, eventually

RED, BLUE = "red.safetensors [1111111111]", "sub/blue.safetensors [2222222222]"


def adapter(webui: WebUI, **changed: Any) -> SdWebui:
    environment: dict[str, Any] = {
        "sqs_queue_url": "q",
        "sns_topic_arn": "t",
        "s3_bucket": "b",
        "runtime_name": RUNTIME,
        "AWS_REGION": "us-east-1",
        "api_base_url": webui.url,
        "dynamic_sd_model": True,
    }
    return SdWebui(Settings(**(environment | changed)))


def draw(web: SdWebui, model: str | None = None, **content: Any) -> Any:
    body = content | ({"alwayson_scripts": {"sd_model_checkpoint": model}} if model else {})
    job = Job("j", RUNTIME, Task.TEXT_TO_IMAGE, body)
    request = web.prepare(job, body, nothing)
    return web.read(request, web.run(request))


def nothing(found: Collection[str]) -> dict[str, bytes]:
    assert not found
    return {}


def body_of(content: dict[str, Any], task: Task = Task.TEXT_TO_IMAGE) -> dict[str, Any]:
    return asked(Job("j", RUNTIME, task, content, form=Form.V1), content).body


# --- the request


def test_header_among_the_scripts_is_no_script_and_all_scripts_stay() -> None:
    content = {
        "alwayson_scripts": {
            "task": "text-to-image",
            "sd_model_checkpoint": "m",
            "id_task": "1",
            "uid": "u",
            "save_dir": "d",
            "sd_vae": "v",
            "override_settings": {"CLIP_stop_at_last_layers": 2},
            "ADetailer": {"args": [{"ad_model": "face"}]},
            "animatediff": {"args": [{"enable": True}]},
        },
        "override_settings": {"eta_noise_seed_delta": 1},
    }
    before = json.dumps(content)
    found = asked(Job("j", RUNTIME, Task.TEXT_TO_IMAGE, content), content)
    assert found.model == "m"
    assert found.body["alwayson_scripts"] == {
        "ADetailer": {"args": [{"ad_model": "face"}]},
        "animatediff": {"args": [{"enable": True}]},
    }
    assert found.body["override_settings"] == {
        "eta_noise_seed_delta": 1,
        "CLIP_stop_at_last_layers": 2,
        "sd_vae": "v",
    }
    assert json.dumps(content) == before, "what the job is known by does not change"


@pytest.mark.parametrize(
    ("links", "images"),
    [
        ("https://h/a.png", ["https://h/a.png"]),
        ("https://h/a.png,s3://b/c.png", ["https://h/a.png", "s3://b/c.png"]),
        (" https://h/a.png , https://h/b.png, ", ["https://h/a.png", "https://h/b.png"]),
        ("https://h/a,b.png?size=1,2", ["https://h/a,b.png?size=1,2"]),
    ],
)
def test_image_link_may_be_several_links(links: str, images: list[str]) -> None:
    body = body_of({"alwayson_scripts": {"image_link": links}}, Task.IMAGE_TO_IMAGE)
    assert body["init_images"] == images


def test_urls_are_looked_for_where_images_are_and_nowhere_else() -> None:
    wanted = [f"https://h/{number}" for number in range(9)]
    body = {
        "prompt": "https://prompt",
        "init_images": [wanted[0], "iVBORw0KGgo="],
        "mask": wanted[1],
        "image": "S3://bucket/key",
        "imageList": [{"data": wanted[2], "name": "https://name"}],
        "alwayson_scripts": {
            "controlnet": {
                "args": [{"input_image": wanted[3]}, {"image": {"image": wanted[4], "mask": wanted[5]}, "model": "http://m"}]
            },
            "other": {"args": ["https://positional", {"ref_image": wanted[6], "Mask_image": [wanted[7]], "text": "http://t"}]},
        },
        "image_cfg_scale": 1.5,
    }  # fmt: skip
    assert sorted(urls(body)) == sorted([*wanted[:8], "S3://bucket/key"])
    whole = embedded(body, dict.fromkeys(urls(body), b"x"))
    assert whole["prompt"] == "https://prompt"
    assert whole["init_images"] == ["eA==", "iVBORw0KGgo="]
    assert whole["imageList"] == [{"data": "eA==", "name": "https://name"}]
    assert whole["alwayson_scripts"]["other"]["args"][0] == "https://positional"
    assert urls(whole) == []


@pytest.mark.parametrize(
    ("argument", "is_image"),
    [
        ("https://h/face.png", True),
        ("https://h/face.JPG?X-Amz-Signature=a", True),
        ("s3://b/k", True),
        ("https://h/face", False),
        ("https://h/a.png and more", False),
        ("a picture of s3://b/k", False),
    ],
)
def test_argument_without_a_name_is_an_image_where_it_is_plainly_one(argument: str, is_image: bool) -> None:
    scripts = {"reactor": {"args": [argument, True, ["0", argument]]}}
    assert urls({"alwayson_scripts": scripts}) == [argument] * 2 * is_image
    assert urls({"script_args": [argument], "prompt": argument}) == [argument] * is_image


def test_controlnet_units_name_their_images_as_the_guidance_or_as_controlnet_does() -> None:
    units = [
        {"image_link": "https://h/1", "model": "canny"},
        {"input_image": "https://h/2", "mask_image": "https://h/3"},
        {"image": {"image": "https://h/4", "mask": "https://h/5"}, "effective_region_mask": "https://h/6"},
        {"image": ["https://h/7", "https://h/8"]},
    ]
    body = body_of({"alwayson_scripts": {"ControlNet": {"args": units}}})
    assert urls(body) == [f"https://h/{number}" for number in range(1, 9)]
    assert body["alwayson_scripts"]["ControlNet"]["args"][0] == {"input_image": "https://h/1", "model": "canny"}


def test_seeds_are_kept_where_given_and_drawn_from_the_job_where_not() -> None:
    assert body_of({"seed": 7})["seed"] == 7
    assert body_of({"seed": 0})["seed"] == 0
    drawn = [body_of({"seed": -1})["seed"], body_of({})["seed"], body_of({"seed": None})["seed"]]
    assert drawn == drawn[:1] * 3, "one job, one seed"
    other = asked(Job("k", RUNTIME, Task.TEXT_TO_IMAGE, {}, form=Form.V1), {}).body
    assert other["seed"] != drawn[0]
    assert 0 <= drawn[0] < 2**32


def test_parameters_are_told_without_pictures_and_nulls() -> None:
    echoed = {
        "prompt": "p",
        "init_images": ["A" * 99],
        "mask": None,
        "steps": 20,
        "alwayson_scripts": {"x": {"args": [{"weight": 1, "model": None}, "B" * 10_000]}},
    }
    told = parameters(echoed)
    assert told["prompt"] == "p"
    assert told["steps"] == 20
    assert "A" not in json.dumps(told["init_images"])
    assert "mask" not in told
    assert told["alwayson_scripts"] == {"x": {"args": [{"weight": 1}, None]}}


# --- models


@pytest.mark.parametrize(
    "name", [BLUE, "sub/blue.safetensors", "blue.safetensors", "blue", "sub/blue", "2222222222", None]
)
def test_model_is_known_by_all_its_names(webui: WebUI, name: str | None) -> None:
    webui.titles, webui.loaded = [RED, BLUE], RED
    draw(adapter(webui), name)
    assert webui.loaded == (BLUE if name else RED)


def test_model_is_switched_only_when_another_one_is_loaded(webui: WebUI) -> None:
    webui.titles, webui.loaded = [RED, BLUE], RED
    web = adapter(webui)
    for model in (RED, RED, BLUE, BLUE, RED):
        draw(web, model)
    switches = [body["sd_model_checkpoint"] for body in webui.bodies("options")]
    assert switches == [BLUE, RED]
    assert len(webui.bodies("txt2img")) == 5


@pytest.mark.parametrize("name", ["Blue", "blu", "blue.ckpt", "blue.safetensors [9999999999]"])
@pytest.mark.parametrize("where", ["alwayson_scripts", "override_settings"])
def test_model_of_a_similar_name_is_another_model(webui: WebUI, name: str, where: str) -> None:
    webui.titles, webui.loaded = [RED, BLUE], RED
    content = {where: {"sd_model_checkpoint": name}}
    job = Job("j", RUNTIME, Task.TEXT_TO_IMAGE, content)
    with pytest.raises(PermanentError) as caught:
        adapter(webui).prepare(job, content, nothing)
    assert caught.value.code == "unknown-model"
    assert RED in caught.value.message
    assert BLUE in caught.value.message
    assert webui.asked == ["POST refresh-checkpoints"], "looked for anew, and nothing drawn"


def test_model_in_the_overrides_is_loaded_instead_of_being_left_to_the_web_ui(webui: WebUI) -> None:
    webui.titles, webui.loaded = [RED, BLUE], RED
    draw(adapter(webui), override_settings={"sd_model_checkpoint": "blue"})
    assert webui.loaded == BLUE
    assert webui.bodies("txt2img")[0]["override_settings"] == {}


def test_model_that_was_added_meanwhile_is_found(webui: WebUI) -> None:
    webui.titles, webui.hidden, webui.loaded = [RED], [BLUE], RED
    draw(adapter(webui), "blue")
    assert webui.loaded == BLUE


def test_picture_of_another_model_is_not_taken(webui: WebUI) -> None:
    webui.titles, webui.loaded = [RED, BLUE], RED
    web = adapter(webui)
    draw(web, BLUE)
    webui.loaded = RED  # started anew, and nobody noticed
    with pytest.raises(TransientError) as caught:
        draw(web, BLUE)
    assert caught.value.code == "wrong-model"
    draw(web, BLUE)
    assert webui.loaded == BLUE


def test_static_runtime_serves_its_model_under_any_of_its_names_and_no_other(webui: WebUI) -> None:
    webui.titles, webui.loaded = [RED, BLUE], RED
    web = adapter(webui, dynamic_sd_model=False, sd_model_checkpoint="blue.safetensors")
    web.ready()
    for name in (None, "blue.safetensors", "blue", BLUE):
        draw(web, name)
    assert webui.bodies("options") == [{"sd_model_checkpoint": BLUE}], "what it serves was loaded, once"
    with pytest.raises(PermanentError, match=r"serves sub/blue\.safetensors .* asks for red") as caught:
        draw(web, "red")
    assert caught.value.code == "wrong-model"


def test_web_ui_without_the_runtimes_model_is_not_ready(webui: WebUI) -> None:
    with pytest.raises(RuntimeLostError, match="does not have the model red"):
        adapter(webui, dynamic_sd_model=False, sd_model_checkpoint="red").ready()


def test_web_ui_that_hangs_over_its_list_of_models_is_lost(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.sdwebui.adapter._REFRESH_S", 0.2)
    webui.silent.add("refresh-checkpoints")
    with pytest.raises(RuntimeLostError, match="ReadTimeout"):
        adapter(webui, dynamic_sd_model=False, sd_model_checkpoint="red").ready()
    with pytest.raises(RuntimeLostError, match="ReadTimeout"):
        draw(adapter(webui), "red")


def test_web_ui_that_is_not_there_is_lost(webui: WebUI) -> None:
    webui.stop()
    for call in (adapter(webui).ready, adapter(webui).progress):
        with pytest.raises(RuntimeLostError):
            call()


# --- interrupts and limits


def running(web: SdWebui, webui: WebUI, job_id: str = "j") -> tuple[Any, Call[bytes]]:
    """Return a request that the web UI is drawing, and the call that waits for it."""
    job = Job(job_id, RUNTIME, Task.TEXT_TO_IMAGE, {})
    request = web.prepare(job, {}, nothing)
    begun = len(webui.bodies("txt2img"))
    call = Call(lambda: web.run(request))
    eventually(lambda: len(webui.bodies("txt2img")) > begun, "the drawing")
    return request, call


def test_interrupt_ends_the_request_that_runs(webui: WebUI) -> None:
    web = adapter(webui)
    webui.held.clear()
    request, call = running(web, webui)
    web.interrupt(request)
    assert call.wait(PATIENCE_S)
    assert webui.asked == ["POST txt2img", "POST interrupt"]


def test_interrupt_that_comes_late_does_not_hit_the_next_request(webui: WebUI) -> None:
    web = adapter(webui)
    late, call = running(web, webui)
    assert call.wait(PATIENCE_S)
    webui.held.clear()
    _, following = running(web, webui, "k")
    web.interrupt(late)
    assert not following.wait(0.1)
    assert "POST interrupt" not in webui.asked
    webui.held.set()
    assert following.wait(PATIENCE_S)


def test_nothing_is_begun_while_an_interrupt_is_on_its_way(webui: WebUI) -> None:
    web = adapter(webui)
    webui.held.clear()
    request, call = running(web, webui)
    webui.silent.add("interrupt")
    interrupt = Call(lambda: web.interrupt(request))
    eventually(lambda: "POST interrupt" in webui.asked, "the interrupt")
    webui.held.set()  # the picture is done before the web UI has heeded the interrupt
    assert not call.wait(0.1)
    webui.silent.clear()
    assert interrupt.wait(PATIENCE_S)
    assert call.wait(PATIENCE_S)


def test_interrupt_that_was_never_answered_keeps_the_next_request_back(
    webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sdwebui.adapter._SOON_S", 0.2)
    web = adapter(webui)
    webui.held.clear()
    request, call = running(web, webui)
    webui.silent.add("interrupt")
    with pytest.raises(RuntimeLostError, match="does not answer"):
        web.interrupt(request)
    webui.held.set()
    assert call.wait(PATIENCE_S)
    with pytest.raises(RuntimeLostError, match="may come late"):
        web.run(request)
    webui.silent.clear()
    web.ready()
    web.run(request)


def test_job_that_is_interrupted_while_its_model_is_loaded_is_not_drawn(webui: WebUI) -> None:
    webui.titles, webui.loaded = [RED, BLUE], RED
    web = adapter(webui)
    job = Job("j", RUNTIME, Task.TEXT_TO_IMAGE, content := {"override_settings": {"sd_model_checkpoint": "blue"}})
    request = web.prepare(job, content, nothing)
    webui.silent.add("options")
    call = Call(lambda: web.run(request))
    eventually(lambda: ("GET options", None) in webui.calls, "the look at what is loaded")
    web.interrupt(request)
    webui.silent.clear()
    assert call.wait(PATIENCE_S)
    with pytest.raises(TransientError, match="before the web UI began"):
        call.answer()
    assert webui.bodies("txt2img") == []


def test_interrupt_that_the_web_ui_forgets_is_repeated(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.inference.AGAIN_S", 0.1)
    web = adapter(webui)
    webui.held.clear()
    webui.once["interrupt"] = 200, b"{}"  # as when it comes before the drawing has begun
    request = web.prepare(Job("j", RUNTIME, Task.TEXT_TO_IMAGE, {}), {}, nothing)
    server = Server(web, timeout_s=0.2, beat=lambda: None, interrupt_s=PATIENCE_S)
    with pytest.raises(PermanentError, match="took longer"):
        server.run(request)
    assert webui.asked == ["POST txt2img", "POST interrupt", "POST interrupt"]


def test_answer_larger_than_allowed_fails_the_job(webui: WebUI) -> None:
    with pytest.raises(PermanentError, match="more than 2000 bytes") as caught:
        draw(adapter(webui, max_answer_bytes=2000), batch_size=20)
    assert caught.value.code == "answer-too-large"


# --- answers


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (422, b'{"detail":[{"loc":["body","steps"],"msg":"no integer"}]}', PermanentError),
        (400, b'{"error":"HTTPException","detail":"Sampler not found","body":"","errors":""}', PermanentError),
        (404, b'{"error":"HTTPException","detail":"Init image not found","body":"","errors":""}', PermanentError),
        (404, b'{"detail":"Not Found"}', TransientError),
        (500, b'{"error":"HTTPException","detail":"Invalid encoded image"}', PermanentError),
        (500, b'{"error":"RuntimeError","detail":"","errors":"model \'x\' not found"}', PermanentError),
        (500, b'{"error":"OutOfMemoryError","errors":"CUDA out of memory. Tried to allocate"}', TransientError),
        (500, b'{"error":"RuntimeError","errors":"CUDA error: device-side assert triggered"}', TransientError),
        (500, b"Internal Server Error", TransientError),
        (502, b"<html>", TransientError),
        (503, b"{}", TransientError),
        (429, b"", TransientError),
        (413, b"<html>", PermanentError),
    ],
)
def test_error_of_the_web_ui_is_told_from_its_body(status: int, body: bytes, kind: type[JobError]) -> None:
    error = refusal(status, body)
    assert type(error) is kind
    assert f"HTTP {status}" in error.message


def test_script_that_the_web_ui_lacks_is_named() -> None:
    error = refusal(422, b'{"error":"HTTPException","detail":"always on script ControlNet not found","body":""}')
    assert error.message == "the web UI answered HTTP 422: HTTPException always on script ControlNet not found"


PICTURE = base64.b64encode(png(1)).decode()


@pytest.mark.parametrize("picture", [PICTURE, f"data:image/png;base64,{PICTURE}"])
@pytest.mark.parametrize("info", ['{"all_seeds": [5]}', {"all_seeds": [5]}])
def test_answers_of_every_web_ui_are_read(picture: str, info: Any) -> None:
    output = drawn({"images": [picture], "info": info, "parameters": {"steps": 1}}, 1)
    assert (output.images, output.seeds, output.parameters) == ([png(1)], [5], {"steps": 1})


@pytest.mark.parametrize("answer", [{"image": PICTURE, "html_info": "<p>"}, {"images": [f"data:;base64,{PICTURE}"]}])
def test_answers_to_the_extra_tasks_have_one_picture_or_several(answer: dict[str, Any]) -> None:
    assert enlarged(answer).images == [png(1)]


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (PICTURE, f"data:image/png;base64,{PICTURE}"),
        (f"data:image/jpeg;base64,{PICTURE}", f"data:image/jpeg;base64,{PICTURE}"),
        ("A" * 2_000_000, None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_preview_is_told_unless_it_is_large(image: Any, told: str | None) -> None:
    assert preview(image) == told


def test_what_an_error_echoes_is_cut() -> None:
    body = json.dumps({"detail": [{"loc": ["body"], "msg": "bad", "input": "x" * 10**6}]}).encode()
    error = refusal(422, body)
    assert error.message == "the web UI answered HTTP 422: body: bad"
    assert len(json.dumps(error.detail)) < 5000


# --- whatever comes

fields = st.sampled_from(
    [
        "prompt",
        "seed",
        "init_images",
        "mask",
        "image",
        "imageList",
        "alwayson_scripts",
        "override_settings",
        "batch_size",
    ]
)
headers = st.dictionaries(
    st.sampled_from(
        ["task", "id_task", "image_link", "sd_vae", "override_settings", "controlnet", "sd_model_checkpoint"]
    ),
    json_values | st.fixed_dictionaries({"args": json_values}),
)


@fuzzed
@given(content=st.dictionaries(fields, json_values | headers), task=st.sampled_from(sorted(set(Task))))
def test_any_content_becomes_a_request_or_a_permanent_failure(content: dict[str, Any], task: Task) -> None:
    try:
        found = asked(Job("j", RUNTIME, task, content), content)
    except PermanentError:
        return
    json.dumps(embedded(found.body, dict.fromkeys(urls(found.body), b"x")))


answer_fields = st.sampled_from(
    ["images", "image", "info", "parameters", "html_info", "all_seeds", "index_of_first_image", "sd_model_name"]
)
answers = st.dictionaries(
    answer_fields, json_values | st.sampled_from([[PICTURE], PICTURE, "{}", float("nan"), "\ud800"]), max_size=5
)


@fuzzed
@given(answer=answers, told=answers)
def test_any_answer_is_pictures_that_can_be_told_of_or_an_error(answer: dict[str, Any], told: dict[str, Any]) -> None:
    body = json.dumps(answer | {"info": json.dumps(told)} if told else answer).encode()
    model = Model("m", frozenset({"m"}), "0")
    for read in (lambda it: drawn(it, 2), enlarged):
        error: JobError | None = None
        try:
            output = read(parsed(body))
        except JobError as caught:
            error = caught
        assert not unsound([error.message, error.detail] if error else [output.parameters, output.seeds])
        assert error or output.images
    model.drew(info(parsed(body)))
    preview(answer.get("image"))


@fuzzed
@given(
    status=st.sampled_from([400, 404, 422, 500, 503]),
    body=st.binary(max_size=20)
    | json_values.map(lambda it: json.dumps(it).encode())
    | st.dictionaries(
        st.sampled_from(["error", "detail", "errors"]),
        json_values | st.lists(st.dictionaries(st.sampled_from(["loc", "msg"]), json_values | st.just("\ud800"))),
    ).map(lambda it: json.dumps(it).encode()),
)
def test_any_refusal_is_an_error_that_can_be_told(status: int, body: bytes) -> None:
    error = refusal(status, body)
    assert not unsound([error.message, error.detail])
