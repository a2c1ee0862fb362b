"""Programs are watched as a kubelet watches pods, and none outlives the one who started it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootstrap.local import programs as module
from bootstrap.local.programs import Death, NotReadyError, Ports, Program, Programs
from tests.conftest import eventually


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path)
    yield made
    made.kill()


def python(code: str, ready: Callable[[], bool] = lambda: True) -> Program:
    return Program("it", [sys.executable, "-c", code], dict(os.environ), ready)


def test_a_program_that_dies_is_reported_with_the_end_of_its_log_and_started_again(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.0)
    mark = tmp_path / "mark"
    programs.start(
        python(
            f"import pathlib, time; mark = pathlib.Path({str(mark)!r})\n"
            "if mark.exists(): mark.write_text('again'); time.sleep(60)\n"
            "mark.touch(); print('disk full'); raise SystemExit(3)"
        )
    )
    deaths: list[Death] = []
    while not deaths:
        deaths = programs.check()
    assert (deaths[0].name, deaths[0].code, deaths[0].last_lines) == ("it", 3, ["disk full"])
    eventually(lambda: not programs.check() and mark.read_text() == "again")


def test_a_program_that_never_gets_ready_is_an_error_that_shows_its_log(programs: Programs) -> None:
    programs.start(python("print('no such model'); raise SystemExit(1)", ready=lambda: False))
    with pytest.raises(NotReadyError, match=r"it ended with code 1:\n  no such model"):
        programs.wait_ready("it")
    programs.start(python("import time; time.sleep(60)", ready=lambda: False))
    with pytest.raises(NotReadyError, match=r"it was not ready after 0\.1 s:\n  \(.*it\.log is empty\)"):
        programs.wait_ready("it", seconds=0.1)


def test_stopping_asks_first_and_ends_what_does_not_listen(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.5)
    code = "import os, signal, sys, time; signal.signal(15, {}); print(os.getpid(), flush=True); time.sleep(60)"
    for handler, trace in (("lambda *_: (print('bye'), sys.exit())", "bye"), ("signal.SIG_IGN", "")):
        programs.start(python(code.format(handler)))
        log = tmp_path / "it.log"
        eventually(log.read_text)
        pid = int(log.read_text().split()[0])
        programs.stop("it")
        assert trace in log.read_text()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_programs_end_when_the_one_who_started_them_is_killed(tmp_path: Path, repository: Path) -> None:
    code = (
        "import os, pathlib, sys, time; from bootstrap.local.programs import Program, Programs\n"
        f"Programs(pathlib.Path({str(tmp_path)!r})).start(Program('it', [sys.executable, '-c', "
        "'import os, time; print(os.getpid(), flush=True); time.sleep(60)'], dict(os.environ), lambda: True))\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=repository)
    log = tmp_path / "it.log"
    eventually(lambda: log.exists() and log.read_text().endswith("\n"))
    pid = int(log.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_a_taken_port_is_replaced_by_a_free_one_which_stays_its_user_s() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        usual = taken.getsockname()[1]
        ports = Ports()
        given = [ports.of(name, usual) for name in ("api", "webui", "api")]
    assert usual not in given
    assert given[0] == given[2] != given[1]
    ports.give_back("api")
    assert ports.of("agent", usual) == usual


def test_an_interrupted_stop_forgets_no_program(programs: Programs, tmp_path: Path) -> None:
    programs.start(
        python("import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)")
    )
    eventually((tmp_path / "it.log").read_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            programs.stop("it")
    assert programs.running().keys() == {"it"}


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
