"""What the agent's log looks like."""

import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from agent import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The set-up of logging as it was before the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """Return what was logged."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_line_is_an_object_with_event_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    structlog.get_logger().info("job ended", job="j", seconds={"inference": 1.5})
    (line,) = lines(capsys)
    assert line.pop("timestamp")
    assert line == {"event": "job ended", "level": "info", "job": "j", "seconds": {"inference": 1.5}}


def test_lines_below_the_level_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("WARNING")
    structlog.get_logger().info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_libraries_log_in_the_same_form_and_without_query_strings(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    logging.getLogger("urllib3").warning("Retrying: '/bucket/key?X-Amz-Signature=secret' and https://a/b?c=secret")
    logging.getLogger("botocore").info("not shown")
    (line,) = lines(capsys)
    assert (line["logger"], line["level"]) == ("urllib3", "warning")
    assert line["event"] == "Retrying: '/bucket/key?…' and https://a/b?…"


def test_exceptions_of_libraries_are_part_of_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    try:
        raise ConnectionError("https://a/b?token=secret")
    except ConnectionError:
        logging.getLogger("x").exception("failed")
    (line,) = lines(capsys)
    assert "ConnectionError" in str(line["exception"])
    assert "secret" not in str(line)


def test_warnings_of_python_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)
    (line,) = lines(capsys)
    assert "old" in str(line["event"])
