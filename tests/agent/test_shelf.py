"""Which job goes next."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from agent.lease import Lease
from agent.queue import Delivery
from agent.shelf import Shelf
from agent.work import Work
from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Stage, Start, WebUI
from tests.conftest import eventually


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def shelf(now: list[float]) -> Shelf:
    return Shelf(patience_s=30, clock=lambda: now[0])


def work(model: str | None) -> Work:
    return Work(Lease(Delivery("m", "", "r"), 60, lambda: 0.0), request=SimpleNamespace(affinity=model))


def put(shelf: Shelf, *models: str | None) -> list[Work]:
    works = [work(model) for model in models]
    for one in works:
        shelf.put(one)
    return works


def test_jobs_for_the_loaded_model_go_first(shelf: Shelf) -> None:
    a1, b1, a2, b2 = put(shelf, "a", "b", "a", "b")
    assert [shelf.take("b") for _ in range(2)] == [b1, b2]
    assert [shelf.take("b") for _ in range(2)] == [a1, a2], "in the order of their arrival, when there are no others"


def test_job_that_needs_no_model_is_never_passed_over(shelf: Shelf) -> None:
    any_model, b = put(shelf, None, "b")
    assert shelf.take("b") is any_model
    assert shelf.take("b") is b


def test_job_that_waited_for_too_long_goes_first(shelf: Shelf, now: list[float]) -> None:
    (a,) = put(shelf, "a")
    now[0] += 29
    b1, b2 = put(shelf, "b", "b")
    assert shelf.take("b") is b1
    now[0] += 1
    assert shelf.take("b") is a
    assert shelf.take("a") is b2


def test_requests_that_say_nothing_keep_their_order(shelf: Shelf) -> None:
    first, second = Work(work(None).lease, request=b"1"), Work(work(None).lease, request=b"2")
    shelf.put(first)
    shelf.put(second)
    assert [shelf.take("a"), shelf.take("a")] == [first, second]
    assert shelf.take("a") is None


def test_work_that_is_cleared_before_it_can_be_taken_is_not_taken(shelf: Shelf) -> None:
    taken: list[Work | None] = []
    for _ in range(200):
        waiting = threading.Thread(target=lambda: taken.append(shelf.take(None, 0.01)))
        waiting.start()
        put(shelf, "a")  # wakes it
        shelf.clear()
        waiting.join()
    assert len(taken) == 200, "a thread died"


def test_dynamic_runtime_loads_a_model_once_for_the_jobs_that_are_there(
    stage: Stage, start: Start, webui: WebUI
) -> None:
    webui.titles = ["a.safetensors", "b.safetensors"]
    webui.loaded = "a.safetensors"
    webui.held.clear()

    def job(name: str, model: str) -> Any:
        content = {"prompt": "p", "alwayson_scripts": {"sd_model_checkpoint": f"{model}.safetensors"}}
        return encode(Job(name, RUNTIME, Task.TEXT_TO_IMAGE, content, form=Form.V1))

    stage.send(job("first", "a"))
    agent = start(dynamic_sd_model=True, prefetch=4)
    eventually(lambda: webui.asked, "the start")
    for name, model in [("b1", "b"), ("a1", "a"), ("b2", "b"), ("a2", "a")]:
        stage.send(job(name, model))
    eventually(lambda: len(agent.pipeline.shelf) == 4, "all of them")
    webui.held.set()
    eventually(lambda: len(stage.results()) == 5, "all of them")
    assert webui.asked == ["POST txt2img"] * 3 + ["POST options"] + ["POST txt2img"] * 2
