"""What probes and Prometheus are told."""

import threading

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from agent import health
from agent.health import Pulse
from agent.metrics import Metrics
from agent.pipeline import RENEWAL_S, Pipeline
from contract.job import Job, Task, encode
from tests.agent.conftest import RUNTIME, Spawn, Stage, Start, WebUI
from tests.conftest import eventually


def test_thread_that_is_late_is_stalled_until_it_beats_or_retires() -> None:
    now = [0.0]
    pulse = Pulse(lambda: now[0])
    pulse.beat("quick", 10)
    pulse.beat("slow", 100)
    now[0] = 10
    assert pulse.stalled() == []
    now[0] = 11
    assert pulse.stalled() == ["quick"]
    pulse.beat("quick", 10)
    assert pulse.stalled() == []
    now[0] = 200
    pulse.retire("slow")
    assert pulse.stalled() == ["quick"]


def test_renewal_that_hangs_is_a_stalled_thread(stage: Stage, start: Start) -> None:
    now = [0.0]
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(pipeline: Pipeline) -> None:
        def renew() -> bool:
            hangs.set()
            return goes_on.wait()

        pipeline.pulse = Pulse(lambda: now[0])
        pipeline.keeper.renew = renew  # type: ignore[method-assign]

    agent = start(hang, visibility_timeout_seconds=3)
    eventually(hangs.is_set, "a renewal")
    now[0] += 1 + RENEWAL_S
    assert agent.pipeline.pulse.stalled() == []
    now[0] += 0.1
    assert agent.pipeline.pulse.stalled() == ["leases"]
    goes_on.set()


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("ready", [True, False])
def test_probes(alive: bool, ready: bool) -> None:
    pulse = Pulse()
    pulse.beat("intake", 100 if alive else -1)
    with health.serve("127.0.0.1", 0, pulse=pulse, ready=lambda: ready, registry=Metrics().registry) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        live = requests.get(f"{url}/healthz", timeout=10)
        assert (live.status_code, live.text) == ((200, "ok\n") if alive else (503, "stalled: intake\n"))
        assert requests.get(f"{url}/readyz", timeout=10).status_code == (200 if ready else 503)
        assert requests.get(f"{url}/elsewhere", timeout=10).status_code == 404
        server.shutdown()


def test_running_agent_is_live_ready_only_with_its_web_ui_and_counts_its_jobs(
    stage: Stage, spawn: Spawn, webui: WebUI, free_port: int
) -> None:
    webui.stop()
    agent = spawn(health_host="127.0.0.1", health_port=free_port)
    url = f"http://127.0.0.1:{free_port}"

    def status(path: str) -> int:
        try:
            return requests.get(f"{url}{path}", timeout=10).status_code
        except requests.ConnectionError:
            return 0

    eventually(lambda: status("/healthz") == 200, "life")
    assert status("/readyz") == 503
    assert eventually(lambda: agent.logged("waiting for the inference server"), "the reason")
    webui.start()
    eventually(lambda: status("/readyz") == 200, "readiness")

    stage.send(encode(Job("j", RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p"})))
    stage.result()

    def samples() -> dict[str, float]:
        text = requests.get(f"{url}/metrics", timeout=10).text
        return {
            f"{sample.name}{','.join(sorted(sample.labels.values()))}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    # The job is counted after its message is gone.
    found = eventually(lambda: it if (it := samples()).get("darkroom_agent_jobs_totalsucceeded,text-to-image") else {})
    assert found["darkroom_agent_ready"] == 1
    assert found["darkroom_agent_messages_held"] == 0
    for step in ("queue", "fetch", "inference", "store"):
        assert found[f"darkroom_agent_step_seconds_count{step}"] == 1
