"""What watchers are told of the work."""

from typing import Any

from agent.pipeline import Pipeline
from agent.watch import Watcher, Watchers
from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Stage, Start, WebUI
from tests.conftest import eventually

EVENTS = [name for name in vars(Watcher) if not name.startswith("_")]


class Notes(Watcher):
    """Notes each event with the job's id."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        for event in EVENTS:
            setattr(self, event, self._noting(event))

    def _noting(self, event: str) -> Any:
        return lambda work, *_: self.events.append((event, work.job.id if work.job else ""))

    def of(self, job_id: str) -> list[str]:
        return [event for event, job in self.events if job == job_id]


class Broken(Watcher):
    """Fails at every event."""

    def __init__(self) -> None:
        for event in EVENTS:
            setattr(self, event, self._fail)

    def _fail(self, *_: Any) -> None:
        raise ZeroDivisionError


def job(job_id: str = "j") -> str:
    return encode(Job(job_id, RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p"}, form=Form.V1))


def watched(*watchers: Watcher) -> Any:
    def change(pipeline: Pipeline) -> None:
        pipeline.watch = pipeline.finish._watch = Watchers(watchers)

    return change


def test_every_step_of_a_job_is_told_in_order_whatever_becomes_of_other_watchers(stage: Stage, start: Start) -> None:
    notes = Notes()
    stage.send(job())
    start(watched(Broken(), notes))
    assert stage.result()["status"] == "succeeded"
    eventually(lambda: "ended" in notes.of("j"), "the last event")
    assert notes.of("") == ["received"], "what is in a message is not known when it is received"
    assert notes.of("j") == ["prepared", "started", "inferred", "stored", "told", "ended"]


def test_job_that_goes_back_is_told_as_released(stage: Stage, start: Start, webui: WebUI) -> None:
    notes = Notes()
    webui.once["txt2img"] = 503, b""
    stage.send(job())
    start(watched(notes))
    stage.result()
    eventually(lambda: "ended" in notes.of("j"), "the last event")
    assert notes.of("j")[:4] == ["prepared", "started", "inferred", "released"]
    assert notes.of("j")[4:] == ["prepared", "started", "inferred", "stored", "told", "ended"]
