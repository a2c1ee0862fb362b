"""What ComfyUI is asked for, what comes of it, and that neither is done twice nor lost."""

import base64
import json
import threading
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapter import Output
from agent.call import Call
from agent.comfyui import adapter as module
from agent.comfyui.adapter import ComfyUI, Request
from agent.comfyui.answer import ended, files, texts
from agent.comfyui.events import Event, Progress, decoded
from agent.comfyui.workflow import files as urls_of_files
from agent.comfyui.workflow import is_file, prompt_id, upload_name, with_files, workflow
from agent.errors import JobError, PermanentError, RuntimeLostError, TransientError
from agent.settings import Settings
from contract.job import Job, Task, unsound
from tests.agent.comfyui import FLAC, WEBM, FakeComfyUI
from tests.agent.conftest import RUNTIME, Stage, Start, png
from tests.agent.fuzz import fuzzed
from tests.conftest import PATIENCE_S, eventually


@pytest.fixture
def server() -> Iterator[FakeComfyUI]:
    """A running ComfyUI."""
    server = FakeComfyUI()
    server.start()
    yield server
    server.held.set()
    server.silent.clear()
    server.stop()


@pytest.fixture(autouse=True)
def looks_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.1)


def adapter(server: FakeComfyUI, **changed: Any) -> ComfyUI:
    environment: dict[str, Any] = {
        "sqs_queue_url": "q",
        "sns_topic_arn": "t",
        "s3_bucket": "b",
        "runtime_name": RUNTIME,
        "AWS_REGION": "us-east-1",
        "api_base_url": server.url,
    }
    return ComfyUI(Settings(**(environment | changed)))


def graph(more: dict[str, Any] | None = None, *, seed: int = 7) -> dict[str, Any]:
    """Return a workflow that draws and saves a picture, with further nodes."""
    return {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "red.safetensors"}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "https://is.a/prompt", "clip": ["4", 1]}},
        "3": {"class_type": "KSampler", "inputs": {"model": ["4", 0], "positive": ["6", 0], "seed": seed, "steps": 4}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "ComfyUI"}},
    } | (more or {})


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def nothing(found: Collection[str]) -> dict[str, bytes]:
    assert not found
    return {}


def prepared(comfy: ComfyUI, content: dict[str, Any], job_id: str = "j", fetch: Any = nothing) -> Request:
    return comfy.prepare(Job(job_id, RUNTIME, Task.PIPELINE, content), content, fetch)


def developed(comfy: ComfyUI, content: dict[str, Any], job_id: str = "j", fetch: Any = nothing) -> Output:
    request = prepared(comfy, content, job_id, fetch)
    return comfy.read(request, comfy.run(request))


def begun(comfy: ComfyUI, server: FakeComfyUI, content: dict[str, Any] | None = None) -> tuple[Request, Call[Any]]:
    """Return a request whose sampler is held, and the call that waits for it."""
    server.held.clear()
    request = prepared(comfy, content or graph())
    call = Call(lambda: comfy.run(request))
    eventually(lambda: server.samples or call.wait(0), "the sampler")
    return request, call


def asked(server: FakeComfyUI, route: str) -> list[Any]:
    return [body for call, body in server.calls if call == route]


# --- what is made


def test_workflow_is_done_and_its_picture_fetched(server: FakeComfyUI) -> None:
    output = developed(adapter(server), graph(seed=5))
    assert output.images == [png(5)]
    assert output.parameters == {"outputs": [{"node": "9", "kind": "images", "filename": "ComfyUI_00005_.png"}]}


def test_outputs_of_every_kind_come_in_the_order_of_the_workflow(server: FakeComfyUI) -> None:
    content = graph(
        {
            "20": node("VHS_VideoCombine", images=["3", 0]),
            "10": node("SaveAudio", audio=["3", 0]),
            "11": node("PreviewAny", source=["6", 0]),
            "12": node("PreviewImage", images=["3", 0]),
        }
    )
    output = developed(adapter(server), content)
    assert output.images == [png(7), WEBM, FLAC], "the preview is none of them"
    assert [told["node"] for told in output.parameters["outputs"]] == ["9", "20", "10"]
    assert [told["kind"] for told in output.parameters["outputs"]] == ["images", "gifs", "audio"]
    assert output.parameters["texts"] == {"11": ["a red circle"]}


def test_previews_are_outputs_where_nothing_else_is(server: FakeComfyUI) -> None:
    content = graph() | {"9": node("PreviewImage", images=["3", 0])}
    assert developed(adapter(server), content).images == [png(8)]


def test_whole_body_of_a_prompt_is_a_workflow_too(server: FakeComfyUI) -> None:
    extra = {"extra_pnginfo": {"workflow": {}}, "preview_method": "none"}
    output = developed(adapter(server), {"prompt": graph(), "client_id": "theirs", "extra_data": extra})
    assert output.images == [png(7)]
    (body,) = asked(server, "POST /prompt")
    assert body["extra_data"] == extra
    assert body["client_id"] != "theirs"


def test_files_together_are_limited(server: FakeComfyUI) -> None:
    content = graph({"20": node("VHS_VideoCombine", images=["3", 0])})
    comfy = adapter(server, max_answer_bytes=10_000)
    server.files["output", "", "film.webm"] = b""
    request = prepared(comfy, content)
    answer = comfy.run(request)
    server.files["output", "", "film.webm"] = b"\x1a\x45\xdf\xa3" + b"x" * 9_990
    with pytest.raises(PermanentError, match="more than 99") as caught:
        comfy.read(request, answer)
    assert caught.value.code == "answer-too-large"


def test_workflow_that_saves_nothing_is_told_so(server: FakeComfyUI) -> None:
    comfy = adapter(server)
    request = prepared(comfy, graph())
    answer = comfy.run(request)
    with pytest.raises(PermanentError, match="a node that saves is needed"):
        comfy.read(request, type(answer)({}))


def test_jobs_with_the_same_models_are_told_from_others(server: FakeComfyUI) -> None:
    assert prepared(adapter(server), graph()).affinity == "red.safetensors"


# --- inputs


def test_inputs_by_url_are_uploaded_and_named_as_comfyui_names_them(server: FakeComfyUI) -> None:
    pictures = {"https://h/a.png": png(1), "s3://b/c": png(2)}
    content = graph(
        {
            "30": node("LoadImage", image="https://h/a.png"),
            "31": node("LoadImage", image="s3://b/c"),
            "32": node("LoadAudio", audio="data:audio/flac;base64," + base64.b64encode(FLAC).decode()),
            "33": node("SaveImage", images=["30", 0], filename_prefix="a"),
            "34": node("SaveImage", images=["31", 0], filename_prefix="b"),
            "35": node("SaveAudio", audio=["32", 0]),
            "36": node("LoadImageFromUrl", url="https://stays/a.png"),
        }
    )
    wanted: list[str] = []

    def fetch(urls: Collection[str]) -> dict[str, bytes]:
        wanted.extend(urls)
        return {url: pictures[url] for url in urls}

    taken = upload_name("", png(1))
    server.files["input", "", taken] = b"of somebody else"
    developed(adapter(server), content, fetch=fetch)
    assert sorted(wanted) == sorted(pictures), "prompts and other texts are none"
    (body,) = asked(server, "POST /prompt")
    names = {name: body["prompt"][name]["inputs"] for name in ("30", "31", "32", "36")}
    assert names["30"] == {"image": taken.replace(".png", " (1).png")}
    assert server.files["input", "", names["30"]["image"]] == png(1)
    assert server.files["input", "", names["31"]["image"]] == png(2)
    assert names["32"]["audio"].endswith(".flac")
    assert server.files["input", "", names["32"]["audio"]] == FLAC
    assert names["36"] == {"url": "https://stays/a.png"}
    assert content["30"]["inputs"] == {"image": "https://h/a.png"}, "what the job is known by does not change"


def test_input_that_comfyui_finds_too_large_fails_the_job(server: FakeComfyUI) -> None:
    content = graph({"30": node("LoadImage", image="https://h/a.png")})
    with pytest.raises(PermanentError, match="takes no input of 2000000 bytes") as caught:
        prepared(adapter(server), content, fetch=lambda urls: dict.fromkeys(urls, b"x" * 2_000_000))
    assert caught.value.code == "input-too-large"


def test_data_url_that_is_none_fails_the_job(server: FakeComfyUI) -> None:
    content = graph({"30": node("LoadImage", image="data:image/png;base64,%%%")})
    with pytest.raises(PermanentError, match="not base64"):
        prepared(adapter(server), content)


@pytest.mark.parametrize(
    ("url", "data", "extension"),
    [
        ("https://h/a.jpg?size=1", png(1), ".png"),
        ("https://h/song.MP3?x=/y.txt", b"ID3?", ".mp3"),
        ("https://h/a.tar.gz", b"?", ".gz"),
        ("https://h/..%2f", b"?", ".bin"),
        ("https://h/a.toolongforone", b"?", ".bin"),
        ("data:text/plain;base64,YS5i", b"?", ".bin"),
    ],
)
def test_upload_has_an_extension_that_fits_its_bytes(url: str, data: bytes, extension: str) -> None:
    name = upload_name(url, data)
    assert name.endswith(extension)
    assert "/" not in name


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        ({"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}}, "image", True),
        ({"input": {"required": {"image": ["COMBO", {"options": []}]}}}, "image", True),
        ({"input": {"required": {}, "optional": {"mask": [["a.png"]]}}}, "mask", True),
        ({"input": {"required": {"image": ["STRING", {}]}}}, "image", False),
        ({"input": {"required": {"text": ["STRING"]}}}, "text", False),
        ({"input": {"required": {}}}, "image_2", True),
        ({"input": {"required": {}}}, "text_2", False),
        (None, "text", False),
    ],
)
def test_input_names_a_file_where_comfyui_offers_files(declared: Any, name: str, expected: bool) -> None:
    assert is_file(declared, name) is expected


# --- what is wrong with a workflow


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "has no nodes"),
        ({"prompt": {}}, "has no nodes"),
        ({"nodes": [], "links": []}, r"export it with 'Export \(API\)'"),
        ({"1": "a", "2": {}, "3": {"class_type": "X", "inputs": []}}, "node '1' is not an object; node '2' has no"),
        ({"1": {"class_type": "X", "inputs": "a"}}, "the `inputs` of node '1' are not an object"),
        ({str(number): 1 for number in range(12)}, r"\(and 2 more\)"),
    ],
)
def test_content_that_is_no_workflow_is_refused_with_what_is_wrong(content: dict[str, Any], told: str) -> None:
    with pytest.raises(PermanentError, match=told) as caught:
        workflow(content)
    assert caught.value.code == "invalid-content"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (graph() | {"4": node("CheckpointLoaderSimple", ckpt_name="x")}, r"node 4 \(CheckpointLoaderSimple\): Val"),
        (graph() | {"9": node("Nowhere")}, "Node 'Nowhere' not found.*: Node ID '#9'"),
        ({"4": node("CheckpointLoaderSimple", ckpt_name="red.safetensors")}, "Prompt has no outputs"),
    ],
)  # fmt: skip
def test_workflow_that_comfyui_refuses_fails_with_the_node(
    server: FakeComfyUI, content: dict[str, Any], told: str
) -> None:
    with pytest.raises(PermanentError, match=told) as caught:
        developed(adapter(server), content)
    assert caught.value.code == "invalid-workflow"


def test_output_that_comfyui_leaves_out_is_told(server: FakeComfyUI) -> None:
    output = developed(adapter(server), graph({"50": node("PreviewImage")}))
    assert output.images == [png(7)]
    assert output.parameters["node_errors"]["50"]["errors"][0]["message"] == "Required input is missing"


def test_node_that_fails_fails_the_job_with_its_message(server: FakeComfyUI) -> None:
    with pytest.raises(PermanentError, match=r"node 50 \(Fails\): ValueError: wrong shape") as caught:
        developed(adapter(server), graph({"50": node("Fails", error="ValueError: wrong shape")}))
    assert caught.value.detail["node_id"] == "50"
    assert asked(server, "POST /free") == []


def test_memory_is_freed_when_there_was_too_little_and_the_job_tried_again(server: FakeComfyUI) -> None:
    error = "torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory"
    with pytest.raises(TransientError) as caught:
        developed(adapter(server), graph({"50": node("Fails", error=error)}))
    assert caught.value.code == "gpu-error"
    assert asked(server, "POST /free") == [{"unload_models": True, "free_memory": True}]


@pytest.mark.parametrize(("status", "kind"), [(500, TransientError), (413, PermanentError), (503, TransientError)])
def test_other_answers_to_a_prompt_are_told_by_their_status(
    server: FakeComfyUI, status: int, kind: type[JobError]
) -> None:
    server.scripted["prompt"] = status, b"500 Internal Server Error"
    with pytest.raises(kind, match=f"HTTP {status}"):
        developed(adapter(server), graph())
    assert len(asked(server, "POST /prompt")) == 1


# --- while it runs


def test_progress_counts_nodes_and_steps_and_has_the_last_preview(server: FakeComfyUI) -> None:
    comfy = adapter(server)
    assert comfy.progress() is None
    _, call = begun(comfy, server)
    told = eventually(lambda: (it := comfy.progress()) and it["step"] == 3 and it["preview"] and it, "progress")
    assert isinstance(told, dict)
    assert told["progress"] == round((2 + 3 / 4) / 4, 4), "two nodes are done, and three steps of four of the third"
    assert told["steps"] == 4
    assert base64.b64decode(told["preview"].removeprefix("data:image/jpeg;base64,")) == server.previews[0]
    server.held.set()
    assert call.wait(PATIENCE_S)
    assert comfy.progress() is None


def test_preview_that_is_large_is_not_told() -> None:
    progress = Progress("p", 1)
    progress.note(Event("preview", {"type": "image/png", "image": b"x" * 1_100_000}))
    assert progress.told()["preview"] is None


def test_previews_are_read_with_and_without_metadata() -> None:
    plain = decoded(b"\0\0\0\1\0\0\0\2PNG", binary=True)
    assert plain == Event("preview", {"type": "image/png", "image": b"PNG"})
    metadata = json.dumps({"node_id": "3", "image_type": "image/jpeg"}).encode()
    told = decoded(b"\0\0\0\4" + len(metadata).to_bytes(4) + metadata + b"JPEG", binary=True)
    assert told == Event("preview", {"type": "image/jpeg", "image": b"JPEG"})


def test_websocket_that_breaks_is_connected_anew(server: FakeComfyUI) -> None:
    comfy = adapter(server)
    _, call = begun(comfy, server)
    eventually(lambda: len(server.sockets) == 1, "the websocket")
    server.cut_sockets()
    eventually(lambda: len(asked(server, "GET /ws")) == 2, "another one")
    server.held.set()
    assert call.wait(PATIENCE_S)
    assert call.answer().outputs["9"]


def test_workflow_is_waited_for_without_a_websocket_too(server: FakeComfyUI) -> None:
    server.sockets_refused = True
    assert developed(adapter(server), graph()).images == [png(7)]


def test_interrupt_ends_the_prompt_that_runs(server: FakeComfyUI) -> None:
    comfy = adapter(server)
    request, call = begun(comfy, server)
    comfy.interrupt(request)
    assert call.wait(PATIENCE_S)
    with pytest.raises(TransientError, match="interrupted"):
        call.answer()
    # Twice where the answer to the prompt had not come yet.
    assert all(body == {"prompt_id": request.prompt_id} for body in asked(server, "POST /interrupt"))


def test_interrupt_takes_a_prompt_that_waits_out_of_the_queue(server: FakeComfyUI) -> None:
    theirs, ours = adapter(server), adapter(server)
    _, running = begun(theirs, server)
    request = prepared(ours, graph(seed=8), "k")
    call = Call(lambda: ours.run(request))
    eventually(lambda: len(server.queue) == 1, "the prompt in the queue")
    ours.interrupt(request)
    assert call.wait(PATIENCE_S)
    with pytest.raises(TransientError, match="before ComfyUI began it"):
        call.answer()
    assert not running.wait(0), "the other one runs on"
    server.held.set()
    assert running.wait(PATIENCE_S)


def test_interrupt_that_comes_late_does_not_hit_the_next_prompt(server: FakeComfyUI) -> None:
    comfy = adapter(server)
    late = prepared(comfy, graph(seed=8), "k")
    comfy.run(late)
    server.samples = 0
    _, call = begun(comfy, server)
    comfy.interrupt(late)
    assert asked(server, "POST /interrupt") == []
    server.held.set()
    assert call.wait(PATIENCE_S)
    assert call.answer().outputs


# --- nothing twice, nothing lost


def test_prompt_whose_answer_is_lost_is_found_again(server: FakeComfyUI) -> None:
    server.lost.add("prompt")
    assert developed(adapter(server), graph()).images == [png(7)]
    assert len(asked(server, "POST /prompt")) == 1
    assert server.samples == 1


def test_prompt_that_never_arrived_is_not_sent_again(server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PROMPT_S", 0.2)
    server.silent.add("prompt")
    comfy = adapter(server)
    with pytest.raises(RuntimeLostError, match="does not answer"):
        developed(comfy, graph())
    assert len(asked(server, "POST /prompt")) == 1


def test_workflow_that_ended_after_its_agent_had_died_is_not_done_again(server: FakeComfyUI) -> None:
    first = adapter(server)
    first.run(prepared(first, graph()))
    assert developed(adapter(server), graph()).images == [png(7)]
    assert server.samples == 1
    assert server.history == {}, "and forgotten when its files were fetched"


def test_workflow_that_failed_before_is_done_again(server: FakeComfyUI) -> None:
    comfy = adapter(server)
    request, call = begun(comfy, server)
    comfy.interrupt(request)
    assert call.wait(PATIENCE_S)
    server.held.set()
    assert developed(comfy, graph()).images == [png(7)]
    assert server.samples == 2


def test_picture_that_is_gone_is_made_again(server: FakeComfyUI) -> None:
    comfy = adapter(server)
    request = prepared(comfy, graph())
    answer = comfy.run(request)
    server.files.clear()
    with pytest.raises(TransientError, match=r"ComfyUI_00007_\.png") as caught:
        comfy.read(request, answer)
    assert caught.value.code == "output-missing"
    eventually(lambda: not server.cache, "the cache to be forgotten")
    assert developed(comfy, graph()).images == [png(7)]


def test_server_that_is_started_anew_in_the_middle_is_lost(server: FakeComfyUI) -> None:
    comfy = adapter(server)
    _, call = begun(comfy, server)
    server.stop()
    server.start()
    assert call.wait(PATIENCE_S)
    with pytest.raises(RuntimeLostError):
        call.answer()
    server.held.set()
    comfy.ready()
    assert developed(comfy, graph()).images == [png(7)]


def test_server_that_is_slow_to_answer_is_waited_for(server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SOON_S", 0.1)
    server.sockets_refused = True
    _, call = begun(adapter(server), server)
    server.silent.add("history")
    server.held.set()
    assert not call.wait(0.5)
    server.silent.clear()
    assert call.wait(PATIENCE_S)
    assert call.answer().outputs


def test_server_that_is_not_there_is_lost(server: FakeComfyUI) -> None:
    server.stop()
    with pytest.raises(RuntimeLostError, match="went away"):
        adapter(server).ready()


def test_something_else_behind_the_port_is_not_ready(server: FakeComfyUI) -> None:
    server.scripted["queue"] = 200, b"<html>"
    with pytest.raises(RuntimeLostError, match="something else"):
        adapter(server).ready()
    server.scripted["queue"] = 502, b""
    with pytest.raises(RuntimeLostError, match="HTTP 502 for /queue"):
        adapter(server).ready()


def test_what_a_dead_agent_left_in_the_queue_is_ended_before_anything_is_received(server: FakeComfyUI) -> None:
    dead = adapter(server)
    _, call = begun(dead, server)
    comfy = adapter(server)
    with pytest.raises(RuntimeLostError, match="an agent before this one"):
        comfy.ready()
    assert call.wait(PATIENCE_S)
    eventually(lambda: not server.running, "the end of what was left")
    comfy.ready()


def test_comfyui_that_gives_ids_of_its_own_is_not_used(server: FakeComfyUI) -> None:
    server.scripted["prompt"] = 200, b'{"prompt_id": "another", "number": 1, "node_errors": {}}'
    with pytest.raises(RuntimeLostError, match="use a newer one"):
        developed(adapter(server), graph())
    assert asked(server, "POST /interrupt") == [{"prompt_id": "another"}]


def test_id_of_a_prompt_is_a_uuid_that_every_attempt_has(server: FakeComfyUI) -> None:
    job = Job("j", RUNTIME, Task.PIPELINE, graph())
    assert prompt_id(job) == prompt_id(Job("j", RUNTIME, Task.PIPELINE, graph()))
    assert prompt_id(job) != prompt_id(Job("k", RUNTIME, Task.PIPELINE, graph()))


# --- as a runtime


def test_pipeline_job_of_the_guidance_is_answered_as_its_clients_expect(
    server: FakeComfyUI, stage: Stage, start: Start
) -> None:
    start(runtime_type="comfyui", api_base_url=server.url)
    metadata = {"id": "p1", "runtime": RUNTIME, "tasktype": "pipeline", "prefix": "out", "context": {"a": 1}}
    stage.publish({"metadata": metadata, "content": graph(seed=3)})
    (notice,) = stage.heard()
    assert (notice["result"], notice["status"], notice["context"]) == (True, "completed", {"a": 1})
    (url,) = notice["image_url"]
    assert stage.read(url.removeprefix(f"s3://{stage.bucket}/")) == png(3)
    assert stage.json(notice["output_url"].removeprefix(f"s3://{stage.bucket}/")) == {"code": 200}
    result = stage.result()
    assert result["parameters"]["outputs"][0]["node"] == "9"


def test_pipeline_job_that_fails_tells_node_and_message(server: FakeComfyUI, stage: Stage, start: Start) -> None:
    start(runtime_type="comfyui", api_base_url=server.url)
    content = graph({"50": node("Fails", error="ValueError: wrong shape")})
    metadata = {"id": "p1", "runtime": RUNTIME, "tasktype": "pipeline", "prefix": "out"}
    stage.publish({"metadata": metadata, "content": content})
    (notice,) = stage.heard()
    assert (notice["result"], notice["error_msg"]) == (False, "node 50 (Fails): ValueError: wrong shape")
    document = stage.json(notice["output_url"].removeprefix(f"s3://{stage.bucket}/"))
    assert document == {"code": 500, "error_msg": "node 50 (Fails): ValueError: wrong shape"}


def test_task_of_another_kind_of_runtime_is_refused(server: FakeComfyUI, stage: Stage, start: Start) -> None:
    start(runtime_type="comfyui", api_base_url=server.url)
    stage.send({"metadata": {"id": "t", "tasktype": "text-to-image", "prefix": ""}, "content": {"prompt": "x"}})
    assert stage.result()["failure"]["code"] == "unsupported-task"


# --- whatever comes

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800")
    | st.sampled_from(["https://h/a.png", "s3://b/k", "data:image/png;base64,eA=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
nodes = values | st.fixed_dictionaries({"class_type": values | st.just("LoadImage"), "inputs": values})
words = st.sampled_from(["prompt", "nodes", "links", "extra_data", "1", "2", "s3_output_path"])


@fuzzed
@given(content=st.dictionaries(words, nodes | st.dictionaries(words, nodes, max_size=3), max_size=4))
def test_any_content_becomes_a_workflow_or_a_permanent_failure(content: dict[str, Any]) -> None:
    try:
        flow = workflow(content)
    except PermanentError:
        return
    found = urls_of_files(flow.graph, lambda *_: True)
    names = dict.fromkeys(found, "name.png")
    whole = with_files(flow.graph, lambda *_: True, names)
    assert urls_of_files(whole, lambda *_: True) == []
    json.dumps(whole)
    assert isinstance(flow.models, str)


@fuzzed
@given(
    entry=values
    | st.fixed_dictionaries(
        {
            "outputs": values | st.dictionaries(st.text(max_size=3), values | st.dictionaries(words, values)),
            "status": values
            | st.fixed_dictionaries(
                {
                    "status_str": st.sampled_from(["error", "success"]),
                    "messages": values | st.lists(st.tuples(st.just("execution_error"), values).map(list)),
                }
            ),
        }
    )
)
def test_any_history_is_an_end_or_an_error(entry: Any) -> None:
    try:
        end = ended(entry)
    except JobError:
        return
    files(end.outputs, {})
    assert not unsound([end.outputs, texts(end.outputs)])


@fuzzed
@given(
    message=st.binary(max_size=40) | values.map(lambda value: json.dumps({"type": "progress", "data": value}).encode())
)
def test_any_message_of_the_websocket_is_an_event_or_nothing(message: bytes) -> None:
    progress = Progress("p", 3)
    for binary in (True, False):
        if event := decoded(message, binary=binary):
            progress.note(event)
    json.dumps(progress.told())


def test_nothing_is_left_running(server: FakeComfyUI) -> None:
    before = threading.active_count()
    developed(adapter(server), graph())
    assert threading.active_count() <= before
