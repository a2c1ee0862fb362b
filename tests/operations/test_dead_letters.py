"""Jobs failed for good; people look at why, mend it, and give them back."""

from pathlib import Path

import pytest

from contract import job as jobs
from contract import keys
from operations.__main__ import main
from operations.dead_letters import DeadLetters
from tests.agent.conftest import RUNTIME, Stage, Start, WebUI, clients, stage, start, webui  # noqa: F401 - fixtures
from tests.agent.test_failures import job
from tests.conftest import eventually


@pytest.fixture
def letters(stage: Stage) -> DeadLetters:  # noqa: F811 - a fixture
    """The dead letters of the stage's runtime."""
    return DeadLetters(
        stage.sqs,
        stage.s3,
        runtime=RUNTIME,
        queue_url=stage.queue_url,
        dead_letters_url=stage.dead_letters_url,
        bucket=stage.bucket,
    )


def test_a_job_that_failed_for_good_is_listed_with_its_reason_and_drawn_once_it_is_given_back(
    stage: Stage,  # noqa: F811
    start: Start,  # noqa: F811
    webui: WebUI,  # noqa: F811
    letters: DeadLetters,
) -> None:
    webui.scripted["txt2img"] = 500, b'{"error":"OutOfMemoryError","errors":"CUDA out of memory"}'
    stage.send(job())
    start(max_receive_count=3)
    eventually(lambda: stage.depth(stage.dead_letters_url) == (1, 0), "the dead letter")
    (letter,) = letters.look()
    assert letter.status == "failed"
    assert letter.reason.startswith("gpu-error: ")
    assert stage.depth(stage.dead_letters_url) == (1, 0), "looking leaves it there"

    del webui.scripted["txt2img"]
    assert [letter.key for letter in letters.redrive()] == [letter.key]
    eventually(lambda: [found["status"] for found in stage.results()] == ["succeeded"], "the picture")
    assert stage.depth(stage.dead_letters_url) == (0, 0)


def test_an_interrupted_redrive_loses_no_job(
    stage: Stage,  # noqa: F811
    letters: DeadLetters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage.sqs.send_message(QueueUrl=stage.dead_letters_url, MessageBody=job())

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage.sqs, "delete_message", interrupted)
        patched.setattr("operations.dead_letters.VISIBILITY_S", 1)
        with pytest.raises(KeyboardInterrupt):
            list(letters.redrive())
    assert stage.depth() == (1, 0)
    eventually(lambda: list(letters.redrive()), "the dead letter is seen again")
    assert stage.depth() == (2, 0), "agents tell them apart"


def test_a_job_that_has_succeeded_meanwhile_is_not_drawn_again(stage: Stage, letters: DeadLetters) -> None:  # noqa: F811
    key = jobs.decode(job(), RUNTIME).key
    stage.s3.put_object(Bucket=stage.bucket, Key=keys.record(key, keys.RESULT), Body=b'{"status":"succeeded"}')
    stage.sqs.send_message(QueueUrl=stage.dead_letters_url, MessageBody=job())
    assert [letter.status for letter in letters.redrive()] == ["succeeded"]
    assert stage.empty()
    assert stage.depth(stage.dead_letters_url) == (0, 0)


def test_what_is_no_job_stays_until_it_is_purged(stage: Stage, letters: DeadLetters) -> None:  # noqa: F811
    stage.sqs.send_message(QueueUrl=stage.dead_letters_url, MessageBody="not JSON")
    (letter,) = letters.look()
    assert "this is no job" in letter.reason
    assert [letter.key for letter in letters.purge()] == [""]
    assert stage.depth(stage.dead_letters_url) == (0, 0)


def test_nothing_is_purged_until_people_say_yes(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def no(question: str) -> str:
        asked.append(question)
        return ""

    # No queue is looked for, or this would fail: there is no AWS here.
    assert main(["redrive", "production", "sdruntime", "--action", "purge"], repository / "clusters", no) == 3
    assert asked == ["Delete the dead letters of sdruntime? They cannot be given back then. [y/N] "]
    assert capsys.readouterr().err == "Nothing was done.\n"
