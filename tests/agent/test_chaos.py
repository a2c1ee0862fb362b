"""Bad days: agents that are killed at any call, an AWS that fails, a web UI that lies; and every job has one end."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Process, Spawn, Stage, WebUI
from tests.agent.proxy import Call, Fate, Proxy, proxying
from tests.conftest import PATIENCE_S, Aws, eventually

VISIBILITY_S = 5
# The calls of a job, by the service and a part of the path.
CALLS = {
    "receive": ("sqs.ReceiveMessage", ""),
    "look for a result": ("s3.GET", "result.json"),
    "look for a cancellation": ("s3.HEAD", "cancel.json"),
    "start": ("s3.PUT", "started.json"),
    "picture": ("s3.PUT", ".png"),
    "document": ("s3.PUT", ".out"),
    "result": ("s3.PUT", "result.json"),
    "notice": ("sns.Publish", ""),
    "deletion": ("sqs.DeleteMessage", ""),
}
# The web UI on a bad day: status and body. Half an answer is status 0.
ANSWERS = [(500, b"Internal Server Error"), (200, b"<html>garbage</html>"), (0, b'{"images":'), (503, b"")]


def report(text: str) -> None:
    print(f"\n{text}")  # noqa: T201 - what `make bench` is for


def message(job_id: str, **content: Any) -> str:
    body = {"prompt": "p", "batch_size": 2, "seed": 5} | content
    return encode(Job(job_id, RUNTIME, Task.TEXT_TO_IMAGE, body, form=Form.V1))


@pytest.fixture
def proxy(aws: Aws) -> Iterator[Proxy]:
    with proxying(Proxy(aws.url)) as proxy:
        yield proxy


@pytest.fixture
def agent(stage: Stage, spawn: Spawn, proxy: Proxy) -> Callable[..., Process]:
    """Starts agents behind the proxy; nothing goes to the dead letters, for it is not a job's fault if they die."""
    stage.allow_receives(1000)

    def start(**changed: Any) -> Process:
        settings = {"visibility_timeout_seconds": VISIBILITY_S, "aws_endpoint_url": proxy.url, "prefetch": 1}
        return spawn(**(settings | changed))

    return start


@dataclass
class Account:
    """What is left of a bad day."""

    jobs: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"{self.jobs} jobs ({ends}), lost {len(self.lost)}, doubled {len(self.doubled)}, untold {len(self.untold)}"
        )


def account(stage: Stage, ids: list[str]) -> Account:
    """Return what became of the jobs, from what is in the bucket and what subscribers were told."""
    results = {result["id"]: result for result in stage.results()}
    told: dict[str, list[Any]] = {}
    for notice in stage.notices():
        told.setdefault(notice["id"], []).append(notice)
    drawn: dict[str, list[str]] = {}
    for key in stage.objects("output/"):
        if key.endswith(".png"):
            drawn.setdefault(key.split("/")[1], []).append(f"s3://{stage.bucket}/{key}")
    found = Account(len(ids))
    for job_id in ids:
        result = results.get(job_id)
        if result is None:
            found.lost.append(job_id)
            continue
        found.statuses[result["status"]] += 1
        notices = told.get(job_id, [])
        if not notices:
            found.untold.append(job_id)
        stored = set(drawn.get(job_id, []))
        # A failed job's earlier attempt may have been killed when its pictures were stored, which nobody is told.
        more = stored - set(result["images"]) if result["status"] == "succeeded" else set()
        if any(notice != notices[0] for notice in notices) or more or set(result["images"]) - stored:
            found.doubled.append(job_id)
    return found


def all_ended(stage: Stage, ids: list[str]) -> Account:
    """Return the account as soon as every job has ended and no message is left."""
    eventually(lambda: stage.empty() and len(stage.ended()) >= len(ids), f"the end of all {len(ids)} jobs")
    found = account(stage, ids)
    assert (found.lost, found.doubled, found.untold) == ([], [], []), found
    return found


def killing(proxy: Proxy, process: Process, call: str, after: bool) -> None:
    """Have the process killed at its next `call`: when it was asked for, or when it had its effect."""
    action, part = CALLS[call]

    def kill() -> None:
        process.popen.kill()
        process.popen.wait()

    proxy.kill_at(lambda one: one.action == action and part in one.path, kill, after=after)


def kill_at(
    stage: Stage, proxy: Proxy, agent: Callable[..., Process], boundaries: list[tuple[str, bool]]
) -> tuple[Account, int]:
    """Kill one agent after the other, each at another call, and let the last one finish."""
    ids = [f"j{number}" for number in range(2 * len(boundaries))]
    for job_id in ids:
        stage.send(message(job_id))
    for call, after in boundaries:
        process = agent()
        killing(proxy, process, call, after)
        assert process.popen.wait(PATIENCE_S) == -signal.SIGKILL, f"the death at: {call}"
    proxy.calm()
    died = time.monotonic()
    eventually(lambda: stage.depth()[1] == 0, "the return of what the last agent held")
    hidden_s = time.monotonic() - died
    assert hidden_s < VISIBILITY_S + 3
    agent()
    return all_ended(stage, ids), len(boundaries)


def test_agent_that_is_killed_at_any_call_leaves_every_job_with_one_end(
    stage: Stage, proxy: Proxy, agent: Callable[..., Process]
) -> None:
    boundaries = [("receive", True), ("start", True), ("picture", True), ("result", True), ("notice", True)]
    found, kills = kill_at(stage, proxy, agent, boundaries)
    report(f"{found}, {kills} agents killed")
    assert found.statuses == {"succeeded": found.jobs}


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_agent_that_is_killed_before_and_after_every_call(
    stage: Stage, proxy: Proxy, agent: Callable[..., Process]
) -> None:
    boundaries = [(call, after) for call in CALLS for after in (False, True)]
    found, kills = kill_at(stage, proxy, agent, boundaries)
    report(f"{found}, {kills} agents killed")
    assert found.statuses == {"succeeded": found.jobs}


@dataclass
class Storm:
    """Everything at once, drawn from a seed.

    Attributes:
        share: How many calls of AWS go wrong, from 0 to 1.
    """

    seed: int
    share: float
    fates: tuple[Fate, ...] = ("throttled", "error", "reset", "reset-after")
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def fate(self, _: Call) -> Fate:
        with self._lock:
            if self._random.random() >= self.share:
                return ""
            fate: Fate = self._random.choice(self.fates)
            self.faults[fate] += 1
            return fate


def weather(
    stage: Stage,
    proxy: Proxy,
    agent: Callable[..., Process],
    webui: WebUI,
    storm: Storm,
    *,
    jobs: int,
    rounds: int,
    rest: int = 10,
) -> str:
    """Have `jobs` done, a fifth of them delivered twice, by two agents to which something happens in each round.

    The `rest` of the jobs is done when the storm is over.
    """
    chance = random.Random(storm.seed)
    ids = [f"j{number}" for number in range(jobs)]
    for number, job_id in enumerate(ids):
        stage.send(message(job_id))
        if number % 5 == 0:
            stage.send(message(job_id))
    proxy.before = storm.fate
    agents = [agent(job_timeout_seconds=2, drain_seconds=1), agent(job_timeout_seconds=2, drain_seconds=30)]
    happened: Counter[str] = Counter()
    for number in range(rounds):
        results_after(stage, min(len(stage.ended()) + 1, jobs))
        event = ("kill", "term", "answer", "hang", "lost", "outage")[number % 6]
        happened[event] += 1
        place = chance.randrange(2)
        match event:
            case "kill" | "term":
                end(agents[place], signal.SIGKILL if event == "kill" else signal.SIGTERM)
                agents[place] = agent(job_timeout_seconds=2, drain_seconds=30)
            case "answer":
                webui.once["txt2img"] = chance.choice(ANSWERS)
            case "hang":
                webui.held.clear()
                interrupted(stage, webui, webui.asked.count("POST interrupt"))
                webui.held.set()
            case "lost":
                webui.stop()
                time.sleep(0.5)
                webui.start()
            case "outage":
                proxy.down = True
                time.sleep(1)
                proxy.down = False
    for ended in range(len(stage.ended()), jobs - rest):
        results_after(stage, ended)
    proxy.calm()
    found = all_ended(stage, ids)
    told = ", ".join(f"{count} x {event}" for event, count in happened.items()) or "nothing else"
    faults = ", ".join(f"{count} {fate}" for fate, count in sorted(storm.faults.items()))
    assert set(found.statuses) <= {"succeeded", "failed"}
    return f"{found}; {told}; calls of AWS: {proxy.count}, of which {faults}"


def end(process: Process, how: signal.Signals) -> None:
    eventually(lambda: process.logged("inference server ready"), "the agent's work")
    process.popen.send_signal(how)
    assert process.popen.wait(60) == (0 if how is signal.SIGTERM else -how)


def results_after(stage: Stage, count: int) -> None:
    eventually(lambda: len(stage.ended()) >= count, "progress")


def interrupted(stage: Stage, webui: WebUI, so_far: int) -> None:
    eventually(lambda: webui.asked.count("POST interrupt") > so_far or stage.empty(), "an interrupt")


def test_storm_leaves_every_job_with_one_end(
    stage: Stage, proxy: Proxy, agent: Callable[..., Process], webui: WebUI
) -> None:
    report(weather(stage, proxy, agent, webui, Storm(1, 0.05), jobs=30, rounds=6))


@pytest.mark.bench
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_long_storm_leaves_every_job_with_one_end(
    stage: Stage, proxy: Proxy, agent: Callable[..., Process], webui: WebUI, seed: int
) -> None:
    report(weather(stage, proxy, agent, webui, Storm(seed, 0.1), jobs=200, rounds=36))


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_aws_that_hangs_costs_leases_but_no_job(
    stage: Stage, proxy: Proxy, agent: Callable[..., Process], webui: WebUI
) -> None:
    # Longer than any time-out, and than the visibility: messages are lost to the other agent while they are worked on.
    proxy.hang_s = 25
    report(weather(stage, proxy, agent, webui, Storm(4, 0.02, fates=("hang",)), jobs=40, rounds=0))
