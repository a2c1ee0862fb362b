"""The pod is marked while the agent works, by the real client and an API server of ours."""

import datetime
import ipaddress
import json
import pkgutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from agent.pod import DELETION_COST, DO_NOT_DISRUPT, KubernetesPod, Marker
from contract.job import Form, Job, Task, encode
from tests.agent.conftest import RUNTIME, Spawn, Stage, Start, WebUI
from tests.conftest import eventually

MARKED = {DELETION_COST: "100", DO_NOT_DISRUPT: "true"}
UNMARKED = {DELETION_COST: None, DO_NOT_DISRUPT: None}


@dataclass
class ApiServer:
    """An API server that knows one pod.

    Attributes:
        status: What it answers with.
        held: While clear, it does not answer.
        seen: The requests: method, path, headers, body.
    """

    status: int = 200
    held: threading.Event = field(default_factory=threading.Event)
    seen: list[tuple[str, str, Message, object]] = field(default_factory=list)

    def patches(self) -> list[object]:
        """Return the annotations of each patch."""
        return [body["metadata"]["annotations"] for *_, body in self.seen if isinstance(body, dict)]


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Return the files of an authority as that of EKS is, of a certificate of it for 127.0.0.1, and of its key."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("kubernetes", "server")]
    today = datetime.datetime.now(datetime.UTC)
    builders = [
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(names[0])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        for name, key in zip(names, keys, strict=True)
    ]
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority = builders[0].add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    files = folder / "ca.crt", folder / "tls.crt", folder / "tls.key"
    for file, builder in zip(files, (authority, builders[1].add_extension(address, critical=False)), strict=False):
        file.write_bytes(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files[2].write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


@pytest.fixture
def api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A running API server over TLS, and a service account for it, where pods find them."""
    api = ApiServer()
    api.held.set()

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.seen.append((self.command, self.path, self.headers, body))
            api.held.wait()
            answer = b'{"kind": "Pod"}' if api.status == 200 else b'{"kind": "Status", "message": "pods is forbidden"}'
            self.send_response(api.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that gave up are what the tests are about

    authority, certificate, key = certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    token = tmp_path / "token"
    token.write_text("a-token")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_address[1]))
        monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(token))
        monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(authority))
        yield api
        api.held.set()
        server.shutdown()


@dataclass
class Agent:
    """Something that is busy or not, and its marker."""

    busy: bool = False
    asked: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def is_busy(self) -> bool:
        self.asked += 1
        return self.busy

    def is_asked_again(self) -> None:
        """Return when the marker has looked twice more, and so has acted on what is now."""
        asked = self.asked
        eventually(lambda: self.asked > asked + 1, "a look of the marker")


Mark = Callable[..., Agent]


@pytest.fixture
def mark() -> Iterator[Mark]:
    """Starts markers of the pod `agent-1` in the namespace `gpu`."""
    started: list[Agent] = []

    def mark(*, busy: bool, calm_s: float = 3600, retry_s: float = 0.01) -> Agent:
        agent = Agent(busy)
        marker = Marker(
            lambda: KubernetesPod("agent-1", "gpu"), agent.is_busy, poll_s=0.01, calm_s=calm_s, retry_s=retry_s
        )
        marker.start(agent.stop)
        started.append(agent)
        return agent

    yield mark
    for agent in started:
        agent.stop.set()


def test_pod_is_marked_while_the_agent_works_and_unmarked_when_it_is_idle(api_server: ApiServer, mark: Mark) -> None:
    agent = mark(busy=True, calm_s=0.1)
    eventually(lambda: api_server.patches() == [MARKED], "the marks")
    method, path, headers, _ = api_server.seen[0]
    assert (method, path) == ("PATCH", "/api/v1/namespaces/gpu/pods/agent-1")
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert headers["Authorization"] == "bearer a-token"
    agent.busy = False
    eventually(lambda: api_server.patches() == [MARKED, UNMARKED], "their end")
    agent.busy = True
    eventually(lambda: api_server.patches() == [MARKED, UNMARKED, MARKED], "the marks")


@pytest.mark.parametrize("maker", ["ssl.create_default_context", "urllib3.connection.create_urllib3_context"])
def test_authority_without_key_identifier_is_trusted_as_the_one_of_eks_has_none(
    api_server: ApiServer, mark: Mark, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    make: Callable[..., ssl.SSLContext] = pkgutil.resolve_name(maker)

    def as_python_3_13(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = make(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(maker, as_python_3_13)
    mark(busy=True)
    eventually(lambda: api_server.patches() == [MARKED], "the mark")


def test_pod_that_works_on_is_patched_once_however_many_jobs_it_does(api_server: ApiServer, mark: Mark) -> None:
    agent = mark(busy=True)
    for _ in range(5):
        agent.busy = False  # a pause between two jobs
        agent.is_asked_again()
        agent.busy = True
        agent.is_asked_again()
    assert api_server.patches() == [MARKED]


def test_marks_of_a_container_that_died_are_removed_by_the_next_one(api_server: ApiServer, mark: Mark) -> None:
    mark(busy=False, calm_s=0.05)
    eventually(lambda: api_server.patches() == [UNMARKED], "the end of the marks")


def test_pod_that_is_to_stop_stays_marked(api_server: ApiServer, mark: Mark) -> None:
    agent = mark(busy=True, calm_s=0)
    eventually(api_server.patches, "the marks")
    agent.stop.set()
    agent.busy = False
    time.sleep(0.1)
    assert api_server.patches() == [MARKED]


def test_mark_that_is_forbidden_is_warned_of_once_and_tried_again(api_server: ApiServer, mark: Mark) -> None:
    api_server.status = 403
    with capture_logs() as logs:
        mark(busy=True)
        eventually(lambda: len(api_server.seen) > 3, "more attempts")
        api_server.status = 200
        eventually(lambda: "pod marked again" in [line["event"] for line in logs], "a success")
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [line["event"] for line in warnings] == ["pod not marked"]
    assert "403" in warnings[0]["reason"]
    assert "pods is forbidden" in warnings[0]["reason"]


def test_api_server_that_hangs_is_given_up(api_server: ApiServer, mark: Mark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.pod.TIMEOUT_S", (0.2, 0.2))
    api_server.held.clear()
    with capture_logs() as logs:
        mark(busy=True)
        eventually(lambda: logs, "a warning")
    assert "timed out" in logs[0]["reason"]


def test_job_does_not_wait_for_an_api_server_that_hangs(api_server: ApiServer, stage: Stage, start: Start) -> None:
    api_server.held.clear()
    agent = start()
    keeper = agent.pipeline.keeper
    marker = Marker(lambda: KubernetesPod("agent-1", "gpu"), lambda: len(keeper) > 0, poll_s=0.001, calm_s=0)
    marker.start(agent.pipeline.shutdown.requested)
    eventually(lambda: api_server.seen, "an attempt at a mark")
    stage.send(encode(Job("j", RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p"}, form=Form.V1)))
    assert stage.result()["status"] == "succeeded"
    assert not api_server.held.is_set()


def test_agent_outside_a_cluster_warns_and_works(stage: Stage, spawn: Spawn, webui: WebUI) -> None:
    webui.held.clear()
    process = spawn(pod_name="agent-1", pod_namespace="gpu")
    stage.send(encode(Job("j", RUNTIME, Task.TEXT_TO_IMAGE, {"prompt": "p"}, form=Form.V1)))
    (warning,) = eventually(lambda: process.logged("pod not marked"), "the warning")
    assert "ConfigException" in warning["reason"]
    webui.held.set()
    assert stage.result()["status"] == "succeeded"
