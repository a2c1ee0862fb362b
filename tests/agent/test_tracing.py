"""What X-Ray's daemon and an OpenTelemetry collector are sent, and what happens to jobs when they are not there."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from agent.errors import CancelledError, DrainedError, ExpiredError, PermanentError, RuntimeLostError
from agent.lease import Lease
from agent.otlp import Collector
from agent.queue import Delivery
from agent.sender import Sender, sender
from agent.tracing import BACKLOG, Trace, Tracer
from agent.work import Work
from agent.xray import Daemon
from contract.job import Form, Job, Task, encode
from contract.result import Failure, Result
from tests.agent.conftest import RUNTIME, Spawn, Stage, serving
from tests.conftest import eventually

ROOT = "1-6924a1b0-0123456789abcdef01234567"
PARENT = "53995c3f42cd8ad8"
HEADER = f"Root={ROOT};Parent={PARENT};Sampled=1"
STEPS = ["queue", "fetch", "wait", "inference", "store", "notify", "delete"]
JOB = Job("j", RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p"}, form=Form.V1)


class Listener:
    """What listens where X-Ray's daemon would, and reads as it does: one line that names the format, and a document."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(30)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def read(self) -> dict[str, Any]:
        """Return the next document."""
        header, _, document = self._socket.recv(64 * 1024).partition(b"\n")
        assert json.loads(header) == {"format": "json", "version": 1}
        read: dict[str, Any] = json.loads(document)
        return read

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A listener on a free port."""
    with closing(Listener()) as listener:
        yield listener


@contextmanager
def collecting(status: int = 200, held: threading.Event | None = None) -> Iterator[tuple[str, list[Any]]]:
    """Listen where a collector would; give the URL and the requests, decoded."""
    requests: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
            if held:
                held.wait()
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with serving(Handler) as url:
        yield url, requests


def received(header: str = HEADER, sent_at: float | None = 100.0) -> Work:
    """Return work on a message with this trace header."""
    sent = datetime.fromtimestamp(sent_at, UTC) if sent_at else None
    return Work(Lease(Delivery("m", "", "r", sent_at=sent, trace=header), 60, time.monotonic), job=JOB)


def result(status: Any = "succeeded", code: str = "") -> Result:
    """Return the end of the job."""
    failure = Failure(code=code, message="may quote a prompt") if code else None
    return Result(id="j", key="j", runtime=RUNTIME, status=status, failure=failure, finished_at=datetime.now(UTC))


def pass_through(tracer: Tracer, work: Work, end: Result) -> None:
    """Tell the tracer of a job that is inferred."""
    tracer.received(work)
    tracer.prepared(work)
    tracer.started(work)
    tracer.inferred(work, work.error)
    tracer.stored(work, end)
    tracer.told(work, end)
    tracer.ended(work, end)


class Sent(list[Trace]):
    """Keeps what it is to send."""

    def send(self, trace: Trace) -> None:
        self.append(trace)

    def close(self) -> None:
        pass


def started(tracer: Tracer) -> Tracer:
    """Start a tracer, and return it."""
    tracer.start()
    return tracer


def traced(act: Callable[[Tracer], None], clock: Callable[[], float] = time.time) -> list[Trace]:
    """Return the traces that a tracer hands over when it is told this."""
    traces = Sent()
    tracer = started(Tracer(lambda: traces, clock))
    act(tracer)
    tracer.close(30)
    return traces


def seconds() -> Callable[[], float]:
    """Return a clock that goes on by a second whenever it is looked at, from 110."""
    now = iter(range(110, 1000))
    return lambda: float(next(now))


# --- with a real agent


def test_job_is_a_segment_of_its_senders_trace_with_a_subsegment_for_each_step(
    stage: Stage, spawn: Spawn, listener: Listener
) -> None:
    process = spawn(tracing="xray", aws_xray_daemon_address=listener.address)
    attribute: Any = {"AWSTraceHeader": {"StringValue": HEADER, "DataType": "String"}}
    stage.sqs.send_message(QueueUrl=stage.queue_url, MessageBody=encode(JOB), MessageSystemAttributes=attribute)
    segment = listener.read()
    assert (segment["trace_id"], segment["parent_id"]) == (ROOT, PARENT)
    (ended,) = eventually(lambda: process.logged("job ended"), "the end of the job")
    assert ended["trace"] == ROOT, "by which log lines and traces are found from each other"
    assert segment["annotations"] == {
        "runtime": RUNTIME,
        "job": "j",
        "task": "text-to-image",
        "status": "succeeded",
        "attempt": 1,
    }
    assert [step["name"] for step in segment["subsegments"]] == STEPS
    assert "fault" not in segment
    assert "prompt" not in json.dumps(segment)


def test_same_trace_is_sent_by_otlp_when_one_value_says_so(stage: Stage, spawn: Spawn) -> None:
    with collecting() as (url, requests):
        spawn(tracing="otlp", otel_exporter_otlp_endpoint=url)
        attribute: Any = {"AWSTraceHeader": {"StringValue": HEADER, "DataType": "String"}}
        stage.sqs.send_message(QueueUrl=stage.queue_url, MessageBody=encode(JOB), MessageSystemAttributes=attribute)
        path, request = eventually(lambda: requests and requests[0], "the spans")
    assert path == "/v1/traces"
    (resource,) = request.resource_spans
    assert {it.key: it.value.string_value for it in resource.resource.attributes}["service.name"] == "darkroom-agent"
    *steps, whole = resource.scope_spans[0].spans
    assert whole.trace_id.hex() == ROOT[2:].replace("-", "")
    assert whole.parent_span_id.hex() == PARENT
    assert [step.name for step in steps] == STEPS
    assert {step.parent_span_id for step in steps} == {whole.span_id}
    assert {step.trace_id for step in steps} == {whole.trace_id}
    attributes = {it.key: it.value for it in whole.attributes}
    assert attributes["job"].string_value == "j"
    indexed = [it.string_value for it in attributes["aws.xray.annotations"].array_value.values]
    assert indexed == ["runtime", "job", "task", "status", "attempt"]


def test_last_job_before_the_end_is_traced(stage: Stage, spawn: Spawn, listener: Listener) -> None:
    process = spawn(tracing="xray", aws_xray_daemon_address=listener.address)
    stage.send(encode(JOB))
    eventually(lambda: process.logged("job ended"), "the end of the job")
    process.popen.terminate()
    assert listener.read()["annotations"]["job"] == "j"


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"tracing": "xray", "aws_xray_daemon_address": "127.0.0.1:9"}, id="no daemon"),
        pytest.param({"tracing": "xray", "aws_xray_daemon_address": "no.such.host.invalid:2000"}, id="no such host"),
        pytest.param(
            # The exporter tries again for as long as it may.
            {
                "tracing": "otlp",
                "otel_exporter_otlp_endpoint": "http://127.0.0.1:9",
                "otel_exporter_otlp_timeout": "1",
            },
            id="no collector",
        ),
    ],
)
def test_jobs_are_done_without_whoever_takes_traces(stage: Stage, spawn: Spawn, changed: dict[str, str]) -> None:
    process = spawn(**changed)
    for number in range(3):
        stage.send(encode(Job(f"j{number}", RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p"}, form=Form.V1)))
    eventually(lambda: len(process.logged("job ended")) == 3, "the end of the jobs")
    assert {it["status"] for it in stage.results()} == {"succeeded"}
    assert len(eventually(lambda: process.logged("trace not sent"), "the warning")) == 1
    process.popen.terminate()
    assert process.popen.wait(30) == 0


# --- what is traced


def test_steps_follow_each_other_from_the_queue_to_the_end() -> None:
    (trace,) = traced(lambda tracer: pass_through(tracer, received(), result()), seconds())
    assert (trace.began, trace.ended) == (100, 116)
    assert [step.name for step in trace.steps] == STEPS
    assert [step.began for step in trace.steps] == [100, 110, 111, 112, 113, 114, 115]
    assert [step.ended for step in trace.steps] == [110, 111, 112, 113, 114, 115, 116]


def test_inference_that_fails_is_the_fault_of_that_step_and_of_the_job() -> None:
    work = received()
    work.error = PermanentError("runtime-error", "may quote a prompt")
    (trace,) = traced(lambda tracer: pass_through(tracer, work, result("failed", "runtime-error")))
    assert {step.name: step.error for step in trace.steps if step.error} == {"inference": "runtime-error"}
    assert trace.error == "runtime-error"
    assert "prompt" not in str(trace)


def test_job_that_cannot_be_prepared_is_the_fault_of_fetching() -> None:
    work = received()
    end = result("failed", "input-not-allowed")

    def act(tracer: Tracer) -> None:
        tracer.received(work)
        work.error = PermanentError("input-not-allowed", "…")
        tracer.stored(work, end)
        tracer.told(work, end)
        tracer.ended(work, end)

    (trace,) = traced(act)
    assert [(step.name, step.error) for step in trace.steps] == [
        ("queue", ""),
        ("fetch", "input-not-allowed"),
        ("notify", ""),
        ("delete", ""),
    ]


def test_message_that_goes_back_is_a_trace_of_its_own() -> None:
    work = received()

    def act(tracer: Tracer) -> None:
        tracer.received(work)
        tracer.prepared(work)
        tracer.released(work, RuntimeLostError("runtime-lost", "…"), True)

    (trace,) = traced(act)
    assert trace.annotations["status"] == "released"
    assert trace.error == "runtime-lost"
    assert trace.steps[-1].error == "runtime-lost"


def test_job_that_is_cancelled_or_expires_and_an_agent_that_stops_are_nobodys_fault() -> None:
    def act(tracer: Tracer) -> None:
        cancelled, expired, stopped = received(), received(), received()
        cancelled.error, expired.error = CancelledError(), ExpiredError()
        pass_through(tracer, cancelled, result("cancelled", "cancelled"))
        tracer.received(expired)
        tracer.stored(expired, result("expired", "expired"))
        tracer.told(expired, result("expired", "expired"))
        tracer.ended(expired, result("expired", "expired"))
        tracer.received(stopped)
        tracer.released(stopped, DrainedError(), True)

    traces = traced(act)
    assert [trace.annotations["status"] for trace in traces] == ["cancelled", "expired", "released"]
    assert not any(trace.error or any(step.error for step in trace.steps) for trace in traces)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER, (Sender(ROOT, PARENT), True)),
        (f"Root={ROOT}; Parent={PARENT}; Sampled=1; Lineage=a:0", (Sender(ROOT, PARENT), True)),
        (f"Sampled=?;Root={ROOT}", (Sender(ROOT), True)),
        (f"Root={ROOT};Parent={PARENT};Sampled=0", (Sender(ROOT, PARENT), False)),
        ("", (None, True)),
        ("Root=1-xyz-0;Parent=oops;Sampled=9", (None, True)),
        (f"Root={ROOT}0", (None, True)),
    ],
)
def test_header_says_whose_trace_it_is_and_whether_it_is_wanted(
    header: str, expected: tuple[Sender | None, bool]
) -> None:
    assert sender(header) == expected


@given(st.text() | st.from_regex(r"Root=[-0-9a-f]*;Parent=[0-9a-f]*;Sampled=.?"))
def test_any_header_is_understood_or_counts_as_none(header: str) -> None:
    by, _ = sender(header)
    assert by is None or sender(by.header) == (by, True)


def test_trace_that_its_sender_does_not_want_is_not_made() -> None:
    work = received(f"Root={ROOT};Parent={PARENT};Sampled=0")
    assert traced(lambda tracer: pass_through(tracer, work, result())) == []


def test_clock_that_is_set_back_does_not_make_steps_of_negative_length() -> None:
    now = iter([110.0, 112.0, 90.0, 91.0, 92.0, 93.0, 94.0])
    (trace,) = traced(lambda tracer: pass_through(tracer, received(), result()), lambda: next(now))
    assert all(step.began <= step.ended for step in trace.steps)


# --- where it goes


def test_segment_is_what_xray_documents_and_takes(listener: Listener) -> None:
    work = received(header="")
    work.error = PermanentError("runtime-error", "…")
    tracer = started(Tracer(lambda: Daemon(listener.address)))
    pass_through(tracer, work, result("failed", "runtime-error"))
    segment = listener.read()
    tracer.close(30)
    assert re.fullmatch("1-[0-9a-f]{8}-[0-9a-f]{24}", segment["trace_id"])
    assert abs(int(segment["trace_id"][2:10], 16) - time.time()) < 60, "X-Ray takes only traces of the last 30 days"
    assert "parent_id" not in segment
    assert segment["fault"] is True
    for part in (segment, *segment["subsegments"]):
        assert re.fullmatch("[0-9a-f]{16}", part["id"])
        assert re.fullmatch(r"[\w\s.:/%&#=+\-@]{1,200}", part["name"])
        assert part["start_time"] <= part["end_time"]
    (exception,) = next(it for it in segment["subsegments"] if it["name"] == "inference")["cause"]["exceptions"]
    assert exception["message"] == "runtime-error"
    with mock_aws():
        client = boto3.client("xray", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        refused = client.put_trace_segments(TraceSegmentDocuments=[json.dumps(segment)])
        assert refused["UnprocessedTraceSegments"] == []
        (trace,) = client.batch_get_traces(TraceIds=[segment["trace_id"]])["Traces"]
    assert json.loads(trace["Segments"][0]["Document"])["id"] == segment["id"]
    # moto brings the SDK along, which opens a socket when it is imported, and never closes it.
    import_module("aws_xray_sdk.core").xray_recorder.emitter._socket.close()


@pytest.mark.parametrize("address", ["tcp:127.0.0.1:1 udp:{}", "udp:{} tcp:127.0.0.1:1", "{}"])
def test_address_of_the_daemon_may_be_written_as_the_sdks_take_it(listener: Listener, address: str) -> None:
    with closing(Daemon(address.format(listener.address))) as daemon:
        daemon.send(Trace(None, 1, 2))
    assert listener.read()["name"] == "darkroom-agent"


def test_spans_of_a_failed_job_have_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as (url, requests):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        trace = Trace(None, 1, 1, error="timeout")
        trace.step("inference", 2, "timeout")
        with closing(Collector()) as collector:
            collector.send(trace)
    step, whole = requests[0][1].resource_spans[0].scope_spans[0].spans
    assert (step.status.message, whole.status.message) == ("timeout", "timeout")
    assert step.status.code == whole.status.code == step.status.STATUS_CODE_ERROR
    assert (step.start_time_unix_nano, step.end_time_unix_nano) == (1_000_000_000, 2_000_000_000)
    assert not whole.parent_span_id


def test_collector_that_refuses_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting(status=400) as (url, _), capture_logs() as logs:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        tracer = started(Tracer(Collector))
        for _ in range(3):
            pass_through(tracer, received(), result())
        tracer.close(30)
    assert [line["event"] for line in logs] == ["trace not sent"]


def test_nothing_waits_for_a_collector_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    with collecting(held=held) as (url, _), capture_logs() as logs:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        tracer = started(Tracer(Collector))
        for _ in range(BACKLOG + 10):
            pass_through(tracer, received(), result())
        began = time.monotonic()
        tracer.close(0.1)
        assert time.monotonic() - began < 5
        held.set()
    assert "more traces than can be sent" in logs[0]["reason"]


def test_exporter_that_breaks_is_made_anew() -> None:
    made: list[Sent] = []

    def connect() -> Sent:
        made.append(Sent())
        if len(made) < 3:
            raise ZeroDivisionError
        return made[-1]

    tracer = started(Tracer(connect))
    for _ in range(3):
        pass_through(tracer, received(), result())
    tracer.close(30)
    assert [len(sent) for sent in made] == [0, 0, 1]
