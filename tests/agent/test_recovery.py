"""What becomes of jobs when agents die, are asked to stop, or meet each other."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from agent.errors import PermanentError, RuntimeLostError
from agent.main import build
from agent.metrics import Metrics
from agent.pipeline import Pipeline
from agent.settings import load
from agent.work import Work
from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Spawn, Stage, Start, WebUI
from tests.conftest import PATIENCE_S, eventually


def job(job_id: str = "j", **content: Any) -> str:
    body = {"prompt": "p", "batch_size": 2} | content
    return encode(Job(job_id, RUNTIME, Task.TEXT_TO_IMAGE, body, form=Form.V1))


def one_result_and_one_set_of_pictures(stage: Stage) -> None:
    result = stage.result()
    assert result["status"] == "succeeded"
    stored = [f"s3://{stage.bucket}/{key}" for key in stage.objects("output/") if key.endswith(".png")]
    assert stored == sorted(result["images"])
    assert len(stored) == 2
    notices = [{k: v for k, v in notice.items() if k != "_attributes"} for notice in stage.heard()]
    assert all(notice == notices[0] for notice in notices)
    assert notices[0]["image_url"] == result["images"]


def test_agent_killed_while_a_job_runs_leaves_it_to_the_next_one(stage: Stage, spawn: Spawn, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(job())
    first = spawn(visibility_timeout_seconds=3)
    eventually(lambda: webui.asked, "the start")
    first.popen.kill()
    first.popen.wait()
    assert stage.results() == []

    webui.held.set()
    second = spawn()
    one_result_and_one_set_of_pictures(stage)
    assert stage.results()[0]["attempt"] == 2
    assert len(webui.bodies("txt2img")) == 2
    second.popen.terminate()
    assert second.popen.wait(30) == 0


@pytest.mark.parametrize("step", ["pictures", "result", "notice"])
def test_agent_that_dies_after_any_step_of_finishing_leaves_one_result(
    stage: Stage, start: Start, webui: WebUI, step: str
) -> None:
    def die_after_step(pipeline: Pipeline) -> None:
        owner, name = {
            "pictures": (pipeline.finish._store, "put_all"),
            "result": (pipeline.finish._store, "put_result"),
            "notice": (pipeline.finish._notices, "ended"),
        }[step]
        real = getattr(owner, name)

        def dying(*arguments: Any, **named: Any) -> Any:
            real(*arguments, **named)
            # As if the process had been killed: nothing is released, deleted or renewed any more.
            pipeline.keeper._leases.clear()
            pipeline.keeper.release = lambda *_: False  # type: ignore[method-assign]
            pipeline.shutdown.request()
            raise ZeroDivisionError

        setattr(owner, name, dying)
        pipeline.reporter.started = lambda _: None  # type: ignore[method-assign, assignment] # it uses the store, too

    stage.send(job(seed=3))
    start(die_after_step, visibility_timeout_seconds=3)
    eventually(lambda: [key for key in stage.objects() if not key.endswith("started.json")], "the step")
    start(visibility_timeout_seconds=3)
    one_result_and_one_set_of_pictures(stage)
    assert len(webui.bodies("txt2img")) == (1 if step in {"result", "notice"} else 2)


def test_message_that_comes_again_after_its_result_is_only_told_and_deleted(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    stage.send(job())
    start()
    one_result_and_one_set_of_pictures(stage)
    before = stage.results()
    stage.send(job())
    assert len(stage.heard(2)) == 2
    one_result_and_one_set_of_pictures(stage)
    assert stage.results() == before
    assert webui.asked == ["POST txt2img"]


def test_two_agents_with_the_same_job_store_one_result(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(job())
    stage.send(job())
    start(prefetch=0)
    start(prefetch=0)
    eventually(lambda: len(webui.asked) == 2, "both starts")
    webui.held.set()
    assert len(stage.heard(2)) == 2
    one_result_and_one_set_of_pictures(stage)


def test_agent_does_not_draw_a_job_twice_at_once(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(job())
    stage.send(job())
    agent = start(retry_seconds=1)
    eventually(agent.metrics.released_total.labels("duplicate")._value.get, "the refusal")
    webui.held.set()
    one_result_and_one_set_of_pictures(stage)
    assert webui.asked == ["POST txt2img"]


def test_job_longer_than_the_visibility_stays_with_its_agent(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    renewed: list[int] = []

    def count(pipeline: Pipeline) -> None:
        real = pipeline.keeper.renew

        def renew() -> bool:
            renewed.append(len(pipeline.keeper))
            return real()

        pipeline.keeper.renew = renew  # type: ignore[method-assign]

    stage.send(job("long"))
    stage.send(job("waiting"))
    start(count, visibility_timeout_seconds=3)
    # More than a whole visibility, in which both messages are renewed: the one on the GPU and the one that waits.
    eventually(lambda: renewed.count(2) >= 4, "renewals")
    assert stage.depth() == (0, 2)
    webui.held.set()
    eventually(lambda: len(stage.results()) == 2 and stage.empty(), "the end")
    assert [result["attempt"] for result in stage.results()] == [1, 1]
    assert len(webui.asked) == 2


def test_sigterm_ends_the_running_job_and_hands_the_waiting_one_back(stage: Stage, spawn: Spawn, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(job("running"))
    agent = spawn(visibility_timeout_seconds=600)
    eventually(lambda: webui.asked, "the start")
    stage.send(job("waiting"))
    eventually(lambda: stage.depth() == (0, 2), "both held")
    agent.popen.terminate()
    eventually(lambda: stage.depth() == (1, 1), "the return of the one that waits")
    stage.send(job("new"))
    webui.held.set()
    assert agent.popen.wait(30) == 0
    assert [result["id"] for result in stage.results()] == ["running"]
    assert [notice["id"] for notice in stage.heard()] == ["running"]
    assert stage.depth() == (2, 0), "nothing new was begun, nothing is hidden"


STARTING = """
import runpy, signal, sys

class First:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "boto3":
            sys.exit(signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, []))

sys.meta_path.insert(0, First())
runpy.run_module("agent", run_name="__main__")
"""


def test_agent_that_is_to_stop_while_it_starts_hears_of_it_though_it_is_the_first_process_of_its_container() -> None:
    assert subprocess.run([sys.executable, "-c", STARTING], check=False).returncode == 0, "not blocked, so not kept"


def test_job_longer_than_the_drain_is_interrupted_and_handed_back(stage: Stage, spawn: Spawn, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(job())
    agent = spawn(visibility_timeout_seconds=600, drain_seconds=1)
    eventually(lambda: webui.asked, "the start")
    agent.popen.send_signal(signal.SIGINT)
    assert agent.popen.wait(30) == 0
    assert webui.asked == ["POST txt2img", "POST interrupt"]
    assert stage.results() == []
    assert stage.depth() == (1, 0)
    assert [line["code"] for line in agent.logged("message released")] == ["drained"]
    assert "returned_at" in stage.json("jobs/j/started.json"), "so that it is not said to run while it waits"


def test_job_that_is_handed_back_for_the_last_time_leaves_a_result(stage: Stage, spawn: Spawn, webui: WebUI) -> None:
    stage.allow_receives(1)
    webui.held.clear()
    stage.send(job("running"))
    agent = spawn(visibility_timeout_seconds=600, drain_seconds=0, max_receive_count=1)
    eventually(lambda: webui.asked, "the start")
    stage.send(job("waiting"))
    eventually(lambda: stage.depth() == (0, 2), "both held")
    agent.popen.terminate()
    assert agent.popen.wait(PATIENCE_S) == 0
    assert {result["id"]: result["failure"]["code"] for result in stage.results()} == {
        "running": "drained",
        "waiting": "drained",
    }
    assert len(stage.heard(2)) == 2
    # SQS moves them when they would be received once more.
    waiting, dead = stage.depth(), stage.depth(stage.dead_letters_url)
    assert (waiting[0] + dead[0], waiting[1] + dead[1]) == (2, 0)


def test_job_whose_agent_is_killed_in_the_last_attempt_has_a_result_by_the_next_one(
    stage: Stage, spawn: Spawn, start: Start, webui: WebUI
) -> None:
    stage.allow_receives(2)
    webui.held.clear()
    stage.send(job())
    first = spawn(visibility_timeout_seconds=3, max_receive_count=1)
    eventually(lambda: webui.asked, "the start")
    first.popen.kill()
    first.popen.wait()
    webui.held.set()
    start(max_receive_count=1)
    eventually(lambda: stage.depth(stage.dead_letters_url) == (1, 0), "the dead letter")
    assert [result["failure"]["code"] for result in stage.results()] == ["attempts-exhausted"]
    assert [notice["status"] for notice in stage.heard()] == ["failed"]
    assert webui.asked == ["POST txt2img"], "it was not begun again"


def test_message_of_a_job_that_failed_by_its_last_attempt_is_left_to_the_dead_letters(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    stage.allow_receives(2)
    webui.scripted["txt2img"] = 500, b'{"error":"OutOfMemoryError","errors":"CUDA out of memory"}'
    stage.send(job())
    start(max_receive_count=1)
    eventually(lambda: stage.depth(stage.dead_letters_url) == (1, 0), "the dead letter")
    assert [result["failure"]["code"] for result in stage.results()] == ["gpu-error"]
    first, again = stage.heard(2)  # its agent might have died before it told
    assert first == again
    assert webui.asked == ["POST txt2img"]


def test_job_whose_last_message_comes_as_the_server_is_lost_has_its_own_result(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    def lose(pipeline: Pipeline) -> None:
        real = pipeline.queue.receive

        def receive() -> Any:
            delivery = real()
            if delivery:
                pipeline.server.lose(RuntimeLostError("runtime-lost", "gone"))
            return delivery

        pipeline.queue.receive = receive  # type: ignore[method-assign]

    stage.send(job())
    start(lose, max_receive_count=1)
    eventually(stage.ended, "the result")
    assert [(result["key"], result["failure"]["code"]) for result in stage.results()] == [("j", "runtime-lost")]
    assert webui.asked == []


def test_second_signal_ends_the_agent_at_once(stage: Stage, spawn: Spawn, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(job())
    agent = spawn()
    eventually(lambda: webui.asked, "the start")
    agent.popen.terminate()
    eventually(lambda: agent.logged("draining"), "the drain")
    agent.popen.terminate()
    assert agent.popen.wait(30) == 128 + signal.SIGTERM


def stopping_while_polling(stage: Stage) -> Callable[[Pipeline], None]:
    """Changes an agent so that it is asked to stop in a long poll, which then brings a message."""

    def change(pipeline: Pipeline) -> None:
        real = pipeline.queue.receive

        def receive() -> Any:
            pipeline.shutdown.request()
            stage.send(job())
            return real()

        pipeline.queue.receive = receive  # type: ignore[method-assign]

    return change


def test_message_that_arrives_in_the_last_long_poll_is_handed_back(stage: Stage, start: Start, webui: WebUI) -> None:
    agent = start(stopping_while_polling(stage), visibility_timeout_seconds=600)
    agent.thread.join(40)
    assert agent.ended_well == [True]
    assert agent.metrics.released_total.labels("drained")._value.get() == 1
    assert stage.depth() == (1, 0)
    assert webui.asked == []


def test_message_that_arrives_in_the_last_long_poll_for_the_last_time_leaves_a_result(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    agent = start(stopping_while_polling(stage), visibility_timeout_seconds=600, max_receive_count=1)
    agent.thread.join(40)
    assert agent.ended_well == [True]
    assert [result["failure"]["code"] for result in stage.results()] == ["drained"]
    assert [notice["id"] for notice in stage.heard()] == ["j"]
    assert webui.asked == []


@pytest.mark.parametrize("where", ["look", "intake"])
def test_web_ui_that_hangs_over_its_list_of_models_does_not_hold_up_the_end(
    stage: Stage, start: Start, webui: WebUI, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr("agent.sdwebui.adapter._REFRESH_S", 600)
    monkeypatch.setattr("agent.pipeline.PREPARE_S", 0.1)
    webui.silent.add("refresh-checkpoints")
    if where == "look":
        webui.titles = []
    stage.send(job(alwayson_scripts={"sd_model_checkpoint": "new"}))
    agent = start(visibility_timeout_seconds=600, drain_seconds=600, dynamic_sd_model=where == "intake")
    eventually(lambda: webui.asked == ["POST refresh-checkpoints"], "the look for the model")
    agent.pipeline.shutdown.request()
    agent.thread.join(40)
    assert agent.ended_well == [True]
    assert stage.depth() == (1, 0)


def test_input_that_hangs_does_not_hold_up_the_end(stage: Stage, spawn: Spawn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as host:
        host.settimeout(PATIENCE_S)
        content = {"init_images": [f"http://127.0.0.1:{host.getsockname()[1]}/a.png"]}
        stage.send(encode(Job("j", RUNTIME, Task.IMAGE_TO_IMAGE, content, form=Form.V1)))
        agent = spawn(visibility_timeout_seconds=600, input_timeout_seconds=600, receive_wait_seconds=0)
        with host.accept()[0]:
            agent.popen.terminate()
            assert agent.popen.wait(PATIENCE_S) == 0
    assert stage.depth() == (1, 0)


def test_aws_that_hangs_does_not_hold_up_the_end(stage: Stage, start: Start, webui: WebUI) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(pipeline: Pipeline) -> None:
        def put_all(items: Any) -> None:
            hangs.set()
            goes_on.wait()

        pipeline.finish._store.put_all = put_all  # type: ignore[method-assign]

    stage.send(job())
    agent = start(hang, visibility_timeout_seconds=600, drain_seconds=1, finish_seconds=1)
    eventually(hangs.is_set, "the storing")
    agent.pipeline.shutdown.request()
    agent.thread.join(40)
    assert agent.ended_well == [True]
    assert stage.depth() == (1, 0)
    assert stage.results() == []
    goes_on.set()


def test_jobs_that_end_after_the_request_to_stop_share_one_deadline(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines: list[float] = []

    def insist(call: Any, *, until: float) -> Any:
        deadlines.append(until)
        return call()

    monkeypatch.setattr("agent.finish.insist", insist)
    monkeypatch.setenv("DRAIN_SECONDS", "0")
    pipeline = build(load(), Metrics())
    for number in range(3):
        stage.send(f"no job {number}")
        delivery = eventually(pipeline.queue.receive, "a message")
        assert delivery
        if number == 1:
            pipeline.shutdown.request()
        pipeline.finish.finish(Work(pipeline.keeper.hold(delivery), error=PermanentError("invalid-job", "none")))
    before, after = deadlines[:3], deadlines[3:]
    assert max(before) < pipeline.shutdown.end
    assert after == [pipeline.shutdown.end] * 6


def test_job_whose_message_was_lost_while_it_waited_is_dropped_and_told_so(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    webui.held.clear()
    stage.send(job("running"))
    agent = start(visibility_timeout_seconds=600)
    eventually(lambda: webui.asked, "the start")
    stage.send(job("waiting"))
    eventually(lambda: agent.pipeline.shelf, "the next one")
    (lease,) = [lease for lease in agent.pipeline.keeper._leases if lease.key == "waiting"]
    with capture_logs() as logged:
        lease.lose()
        webui.held.set()
        eventually(lambda: [line for line in logged if line["event"] == "work dropped"], "the drop")
    assert [line["code"] for line in logged if line["event"] == "work dropped"] == ["lease-lost"]
    assert "message released" not in {line["event"] for line in logged}
    assert b"released_total{" not in generate_latest(agent.metrics.registry)
    assert webui.asked == ["POST txt2img"]


def test_finished_work_outlasts_an_aws_that_refuses_for_a_while(stage: Stage, start: Start, webui: WebUI) -> None:
    refusals = {"put_object": 3, "publish": 2, "delete_message": 2}

    def refuse(pipeline: Pipeline) -> None:
        clients = {
            "put_object": pipeline.finish._store._s3,
            "publish": pipeline.finish._notices._sns,
            "delete_message": pipeline.queue._control,
        }
        for name, client in clients.items():
            setattr(client, name, _refusing(refusals, name, getattr(client, name)))

    stage.send(job())
    start(refuse)
    one_result_and_one_set_of_pictures(stage)
    assert refusals == dict.fromkeys(refusals, 0)
    assert webui.asked == ["POST txt2img"]


def _refusing(refusals: dict[str, int], name: str, real: Any) -> Any:
    def call(**arguments: Any) -> Any:
        if refusals[name]:
            refusals[name] -= 1
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "later"}}, name)
        return real(**arguments)

    return call


def test_thread_that_dies_ends_the_agent_and_gives_everything_back(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.held.clear()
    stage.send(job())
    agent = start(visibility_timeout_seconds=600)
    eventually(lambda: webui.asked, "the start")

    def broken() -> Any:
        raise ZeroDivisionError

    agent.pipeline.queue.receive = broken  # type: ignore[method-assign]
    stage.send("a message that is no job lets the poll end")
    agent.thread.join(40)
    assert agent.ended_well == [False]
    assert stage.depth()[1] == 0


def test_next_jobs_inputs_are_fetched_while_a_job_is_on_the_gpu(stage: Stage, start: Start, webui: WebUI) -> None:
    stage.s3.put_object(Bucket=stage.bucket, Key="in/a.png", Body=b"a")
    webui.held.clear()
    stage.send(job("first"))
    agent = start()
    eventually(lambda: webui.asked, "the start")
    fetched: list[str] = []
    inputs = agent.pipeline.intake._inputs
    real = inputs.fetch

    def fetch(urls: Any) -> dict[str, bytes]:
        fetched.extend(urls)
        return real(urls)

    inputs.fetch = fetch  # type: ignore[method-assign]
    url = f"s3://{stage.bucket}/in/a.png"
    content = {"prompt": "p", "init_images": [url], "seed": 1}
    stage.send(encode(Job("second", RUNTIME, Task.IMAGE_TO_IMAGE, content, form=Form.V1)))
    eventually(lambda: fetched == [url] and agent.pipeline.shelf, "the second job's inputs")
    assert webui.asked == ["POST txt2img"], "the first is still on the GPU"
    assert stage.results() == []
    webui.held.set()
    eventually(lambda: len(stage.results()) == 2, "both")


def test_job_is_inferred_while_the_one_before_is_being_stored(stage: Stage, start: Start, webui: WebUI) -> None:
    order: list[str] = []

    def slow(pipeline: Pipeline) -> None:
        real = pipeline.finish._store.put_all

        def put_all(items: Any) -> None:
            if len(items) == 1:  # the start of a job
                return real(items)
            order.append("stores")
            # Goes on only when the next job has come to the GPU: in a row this would wait for ever.
            eventually(lambda: len(webui.asked) == 2, "the next inference")
            return real(items)

        pipeline.finish._store.put_all = put_all  # type: ignore[method-assign]

    stage.send(job("first"))
    stage.send(job("second"))
    start(slow)
    eventually(lambda: len(stage.results()) == 2, "both")
    assert order == ["stores", "stores"]


def test_nothing_is_received_before_the_web_ui_has_its_model(stage: Stage, start: Start, webui: WebUI) -> None:
    webui.titles = []
    stage.send(job())
    agent = start()
    eventually(lambda: "POST refresh-checkpoints" in webui.asked, "the look for the model")
    assert not agent.pipeline.ready()
    assert stage.depth() == (1, 0)
    webui.titles = ["tiny.safetensors [0123456789]"]
    one_result_and_one_set_of_pictures(stage)
    assert stage.results()[0]["attempt"] == 1


def test_log_lines_are_json_and_hold_neither_prompts_nor_query_strings(
    stage: Stage, spawn: Spawn, webui: WebUI
) -> None:
    stage.send(job(prompt="a secret wish", init_images=["http://127.0.0.1:1/a.png?signature=abc"]))
    stage.send(job("good", prompt="a secret wish"))
    agent = spawn(max_receive_count=1)
    eventually(lambda: len(stage.results()) == 2, "both")
    (ended,) = [line for line in agent.logged("job ended") if line["job"] == "good"]
    assert {ended[key] for key in ("key", "runtime", "task", "status")} == {
        "good",
        RUNTIME,
        "text-to-image",
        "succeeded",
    }
    agent.popen.terminate()
    agent.popen.wait(30)
    text = agent.log_file.read_text()
    assert all(json.loads(line) for line in text.splitlines())
    assert "secret wish" not in text
    assert "signature" not in text
