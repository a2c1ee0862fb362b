"""A job that names a webhook is told to it when it ends: signed, again until it is taken in, and never inside."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from structlog.testing import capture_logs

from api import webhooks
from api.service import assemble
from api.webhooks import call, wiring
from api.webhooks.delivery import DELAYS_S, MAX_ATTEMPTS, Deliveries
from api.webhooks.event import InvalidSecretError, parse_secrets
from api.webhooks.settings import Settings
from api.webhooks.worker import Notice, Worker
from apps.crossplane.apis.inferenceapi import webhooks as composed
from contract import keys
from tests.api.conftest import BUCKET, Platform
from tests.api.receiver import SECRET, Receiver, receiving

OLDER_SECRET = "whsec_" + "dGhlIG9uZSB0aGF0IHdhcyB1c2VkIGJlZm9yZQ=="
TIMEOUT_S = 0.5


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def deliveries(platform: Platform, *secrets: str, allow_private: bool = True) -> Deliveries:
    service = assemble(platform.settings, platform.aws)
    given = list(secrets) or [SECRET]
    return Deliveries(platform.aws, service, lambda: given, timeout_s=TIMEOUT_S, allow_private=allow_private)


def ended(platform: Platform, url: str, status: str = "succeeded", job_id: str = "mine") -> None:
    """Write the record of a job that named a webhook and has ended."""
    metadata = {
        "id": job_id,
        "runtime": "tiny",
        "tasktype": "text-to-image",
        "prefix": "output",
        "context": {"order": 7},
        "form": "v1",
        "created_at": "2026-11-24T12:00:00+00:00",
        "webhook": url,
    }
    platform.put(job_id, keys.JOB, {"message": {"metadata": metadata, "content": {}}, "created_at": "x"})
    result = {
        "id": job_id,
        "key": job_id,
        "runtime": "tiny",
        "task": "text-to-image",
        "form": "v1",
        "status": status,
        "output_url": keys.url(BUCKET, f"output/{job_id}/{job_id}.out"),
        "context": {"order": 7},
        "created_at": "2026-11-24T12:00:00Z",
        "finished_at": "2026-11-24T12:00:09Z",
    }
    if status == "succeeded":
        result["images"] = [keys.url(BUCKET, f"output/{job_id}/0001.png")]
    platform.put(job_id, keys.RESULT, result)


def test_a_receiver_gets_the_job_as_the_api_tells_it_and_knows_by_the_signature_that_it_is_from_us(
    platform: Platform, receiver: Receiver
) -> None:
    ended(platform, receiver.url)
    assert deliveries(platform).deliver("mine", 1) is None
    [told] = receiver.verified()
    assert (told["type"], told["timestamp"]) == ("job.succeeded", "2026-11-24T12:00:09Z")
    shown = platform.api.get("/v1/jobs/mine").json()
    assert told["data"].keys() == shown.keys()
    links = {"images", "webhook"}  # valid from when they were made, and what was not known by then
    assert {name: told["data"][name] for name in shown.keys() - links} == {
        name: shown[name] for name in shown.keys() - links
    }
    assert told["data"]["images"][0]["url"].startswith("https://")
    noted = platform.get("mine", keys.WEBHOOK)
    assert (noted["status"], noted["attempts"], noted["http_status"]) == ("delivered", 1, 204)
    assert noted["message"] == receiver.ids[0]


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_every_end_has_a_type_of_its_own(platform: Platform, receiver: Receiver, status: str) -> None:
    ended(platform, receiver.url, status)
    deliveries(platform).deliver("mine", 1)
    [told] = receiver.verified()
    assert (told["type"], told["data"]["status"]) == (f"job.{status}", status)


def test_while_a_secret_is_replaced_receivers_may_still_have_the_one_before(
    platform: Platform, receiver: Receiver
) -> None:
    ended(platform, receiver.url)
    deliveries(platform, SECRET, OLDER_SECRET).deliver("mine", 1)
    assert receiver.verified(SECRET) == receiver.verified(OLDER_SECRET)


def test_a_receiver_that_fails_is_asked_again_after_ever_longer_pauses_and_sees_one_id(
    platform: Platform, receiver: Receiver
) -> None:
    ended(platform, receiver.url)
    made = deliveries(platform)
    receiver.answers = [(500, {})] * len(DELAYS_S)
    for attempt, expected_s in enumerate(DELAYS_S, start=1):
        delay_s = made.deliver("mine", attempt)
        assert delay_s is not None
        assert expected_s <= delay_s <= min(expected_s * 1.1, 12 * 3600)
        noted = platform.get("mine", keys.WEBHOOK)
        assert (noted["status"], noted["attempts"]) == ("failing", attempt)
        assert (noted["http_status"], noted["error"]) == (500, "it answered 500")
        pause = datetime.fromisoformat(noted["next_attempt_at"]) - datetime.fromisoformat(noted["attempted_at"])
        assert pause == timedelta(seconds=delay_s)
    assert made.deliver("mine", len(DELAYS_S) + 1) is None
    assert platform.get("mine", keys.WEBHOOK)["status"] == "delivered"
    assert len(set(receiver.ids)) == 1
    assert len(receiver.verified()) == len(DELAYS_S) + 1, "each attempt is signed anew, at its own time"


def test_other_jobs_have_other_ids(platform: Platform, receiver: Receiver) -> None:
    for job_id in ("a", "b"):
        ended(platform, receiver.url, job_id=job_id)
        deliveries(platform).deliver(job_id, 1)
    assert len(set(receiver.ids)) == 2


def test_after_the_last_attempt_the_notice_is_left_for_the_dead_letter_queue_and_the_record_says_why(
    platform: Platform, receiver: Receiver
) -> None:
    ended(platform, receiver.url)
    receiver.answers = [(503, {})]
    with capture_logs() as logs:
        assert deliveries(platform).deliver("mine", MAX_ATTEMPTS) == 0
    noted = platform.get("mine", keys.WEBHOOK)
    assert (noted["status"], noted["error"]) == ("given-up", "it answered 503")
    assert [(line["event"], line["log_level"]) for line in logs] == [("webhook given-up", "error")]
    assert deliveries(platform).deliver("mine", 1) is None, "moved back into the queue, it is delivered"
    assert platform.get("mine", keys.WEBHOOK)["status"] == "delivered"


def test_a_receiver_that_is_gone_is_not_asked_again(platform: Platform, receiver: Receiver) -> None:
    ended(platform, receiver.url)
    receiver.answers = [(410, {})]
    assert deliveries(platform).deliver("mine", 1) is None
    assert platform.get("mine", keys.WEBHOOK)["status"] == "given-up"


@pytest.mark.parametrize(
    ("retry_after", "least_s", "most_s"),
    [
        (lambda: "120", 120, 120),
        (lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True), 590, 600),
        (lambda: "999999999", 12 * 3600 - 60, 12 * 3600 - 60),
        (lambda: "1", 5, 5.5),
        (lambda: "soon", 5, 5.5),
        (lambda: "-5", 5, 5.5),
    ],
)
def test_a_receiver_may_say_when_to_come_back(
    platform: Platform, receiver: Receiver, retry_after: Any, least_s: float, most_s: float
) -> None:
    ended(platform, receiver.url)
    receiver.answers = [(429, {"Retry-After": retry_after()})]
    delay_s = deliveries(platform).deliver("mine", 1)
    assert delay_s is not None
    assert least_s <= delay_s <= most_s


def test_a_redirect_is_not_followed(platform: Platform, receiver: Receiver) -> None:
    ended(platform, receiver.url)
    receiver.answers = [(307, {"Location": receiver.url})]
    assert deliveries(platform).deliver("mine", 1)
    assert len(receiver.got) == 1
    assert platform.get("mine", keys.WEBHOOK)["error"] == "it answered 307"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/", "it is no https:// URL"),
        ("https://user:password@example.com/", "it has a user in it"),
        ("https://example.com:99999/", "it is no URL"),
        ("https://127.0.0.1/", "its host has no public address"),
        ("https://localhost/", "its host has no public address"),
        ("https://2130706433/", "its host has no public address"),
        ("https://0x7f.1/", "its host has no public address"),
        ("https://[::1]/", "its host has no public address"),
        ("https://[::ffff:127.0.0.1]/", "its host has no public address"),
        ("https://10.1.2.3/", "its host has no public address"),
        ("https://169.254.169.254/latest/meta-data", "its host has no public address"),
    ],
)
def test_what_is_inside_is_never_called(platform: Platform, url: str, reason: str) -> None:
    ended(platform, url)
    assert deliveries(platform, allow_private=False).deliver("mine", 1) is None
    noted = platform.get("mine", keys.WEBHOOK)
    assert (noted["status"], noted["error"]) == ("given-up", f"it is not called: {reason}")


def test_a_name_that_leads_outside_first_and_inside_then_leads_nowhere(
    platform: Platform, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: what is looked at is what is connected to; there is no second look-up."""
    port = int(receiver.url.split(":")[2].split("/")[0])
    looked_up = []

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        looked_up.append(host)
        address = "192.0.2.1" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected = []

    def connect(address: tuple[str, int], *_: Any) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(call, "is_public", lambda address: str(address) == "192.0.2.1")
    with pytest.raises(call.UnansweredError, match="it refuses connections"):
        call.post(f"https://rebinding.test:{port}/", "{}", {}, timeout_s=1, allow_private=False)
    assert (looked_up, connected) == (["rebinding.test"], ["192.0.2.1"])
    with pytest.raises(call.RefusedError):
        call.post(f"https://rebinding.test:{port}/", "{}", {}, timeout_s=1, allow_private=False)
    assert connected == ["192.0.2.1"]
    assert receiver.got == []


@pytest.fixture
def tls(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port that speaks TLS, with a certificate for `localhost`, and passes on to nobody but answers 204."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    monkeypatch.setattr(call, "is_public", lambda _: True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    raw, _ = listening.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(raw, server_side=True) as sock:
                        got = b""
                        while not got.endswith(b"{}"):  # whoever closes before all is read resets the connection
                            got += sock.recv(65536)
                        sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        yield listening.getsockname()[1]
        socket.socket.shutdown(listening, socket.SHUT_RDWR)


def test_a_certificate_is_asked_for_and_must_be_of_the_host(tls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {"timeout_s": 30.0, "allow_private": False}
    assert call.post(f"https://localhost:{tls}/", "{}", {}, **sent).status == 204  # type: ignore[arg-type]
    with pytest.raises(call.UnansweredError, match="SSL"):
        call.post(f"https://127.0.0.1:{tls}/", "{}", {}, **sent)  # type: ignore[arg-type]
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(call.UnansweredError, match="SSL"):
        call.post(f"https://localhost:{tls}/", "{}", {}, **sent)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100], ids=["nothing", "a byte now and then"])
def test_a_slow_receiver_is_cut_off(scheme: str, says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def dribble() -> None:
            sock, _ = listening.accept()
            with sock:
                try:
                    for byte in says:
                        sock.sendall(bytes([byte]))
                        time.sleep(0.05)
                    sock.recv(65536)
                    while sock.recv(65536):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=dribble)
        thread.start()
        started = time.monotonic()
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(call.UnansweredError):
            call.post(url, "{}", {}, timeout_s=TIMEOUT_S, allow_private=True)
        assert time.monotonic() - started < TIMEOUT_S + 5
        thread.join(30)
        assert not thread.is_alive(), "the connection is closed"


def test_a_notice_that_comes_twice_is_delivered_once(platform: Platform, receiver: Receiver) -> None:
    ended(platform, receiver.url)
    made = deliveries(platform)
    assert [made.deliver("mine", 1), made.deliver("mine", 1)] == [None, None]
    assert len(receiver.got) == 1


def test_a_job_whose_record_has_expired_is_told_to_nobody(platform: Platform, receiver: Receiver) -> None:
    with capture_logs() as logs:
        assert deliveries(platform).deliver("gone", 1) is None
    assert [line["event"] for line in logs] == ["webhook of a job that is not there any more"]


def test_neither_urls_nor_what_they_answer_is_logged(platform: Platform, receiver: Receiver) -> None:
    ended(platform, receiver.url)
    receiver.answers = [(500, {"X-Said": "swordfish"})]
    with capture_logs() as logs:
        deliveries(platform).deliver("mine", 1)
        deliveries(platform).deliver("mine", 2)
    assert len(logs) == 2
    assert "swordfish" not in json.dumps(logs)
    assert receiver.url not in json.dumps(platform.get("mine", keys.WEBHOOK))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no signing secret"),
        (f"{SECRET} whsec_swordfish", "signing secret 2 is not 24 to 64 bytes in base64"),
        ("whsec_" + "eHh4", "signing secret 1 is not 24 to 64 bytes in base64"),
    ],
)
def test_a_secret_that_is_none_is_told_without_quoting_it(text: str, problem: str) -> None:
    with pytest.raises(InvalidSecretError) as told:
        parse_secrets(text)
    assert str(told.value).startswith(problem)
    assert "swordfish" not in str(told.value)


def test_a_secret_that_secrets_manager_has_drawn_signs_too(platform: Platform, receiver: Receiver) -> None:
    """Letters and digits, without the prefix: read again when it has been replaced, after a while."""
    manager = boto3.client("secretsmanager")
    drawn = manager.get_random_password(PasswordLength=64, ExcludePunctuation=True)["RandomPassword"]
    manager.create_secret(Name="webhooks", SecretString=drawn)
    settings = Settings(s3_output_bucket=BUCKET, webhook_queue_url="x", webhook_secret_id="webhooks")
    ended(platform, receiver.url)
    deliveries(platform, *wiring.secrets(settings)()).deliver("mine", 1)
    assert receiver.verified(drawn)


def test_a_secret_is_replaced_in_its_file_while_the_deliverer_runs(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{OLDER_SECRET}\n")
    read = wiring.secrets(Settings(s3_output_bucket=BUCKET, webhook_queue_url="x", webhook_secrets_file=file))
    assert read() == [OLDER_SECRET]
    file.write_text(f"{SECRET}\n{OLDER_SECRET}\n")
    assert read() == [SECRET, OLDER_SECRET]


class TestInTheQueue:
    """What becomes of a notice in the queue, by either of the two ways to run it."""

    @pytest.fixture
    def queue(self, platform: Platform) -> str:
        """The webhooks' queue, fed by a topic with the composition's filter."""
        url: str = platform.sqs.create_queue(QueueName="webhooks")["QueueUrl"]
        topic = platform.aws.sns.create_topic(Name="output")["TopicArn"]
        arn = platform.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {"FilterPolicy": json.dumps({"webhook": ["true"]})}
        platform.aws.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=policy)
        self.topic = topic
        return url

    def publish(self, platform: Platform, key: str) -> None:
        attributes = {"key": key, "status": "completed", "webhook": "true"}
        platform.aws.sns.publish(
            TopicArn=self.topic,
            Message="{}",
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )

    def event(self, platform: Platform, queue: str) -> dict[str, Any]:
        """Return what Lambda would be called with."""
        found = platform.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        )
        return {
            "Records": [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": dict(message["Attributes"]),
                    "messageAttributes": {},
                }
                for message in found.get("Messages", [])
            ]
        }

    @pytest.fixture
    def environment(self, platform: Platform, queue: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        values = {
            "S3_OUTPUT_BUCKET": BUCKET,
            "WEBHOOK_QUEUE_URL": queue,
            "WEBHOOK_SECRETS": SECRET,
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "WEBHOOK_TIMEOUT_SECONDS": str(TIMEOUT_S),
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("api.log.configure", lambda: None)
        monkeypatch.setattr(wiring, "connect", lambda: platform.aws)
        wiring.worker.cache_clear()
        yield
        wiring.worker.cache_clear()

    def test_lambda_says_which_of_a_batch_are_to_come_again_and_when(
        self, platform: Platform, queue: str, environment: None, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended(platform, receiver.url, job_id="good")
        ended(platform, "http://127.0.0.1:9/", job_id="bad")
        for key in ("good", "bad"):
            self.publish(platform, key)
        event = self.event(platform, queue)
        keyed = {
            json.loads(record["body"])["MessageAttributes"]["key"]["Value"]: record["messageId"]
            for record in event["Records"]
        }
        put_off: list[int] = []
        wiring.worker()._sqs.meta.events.register(
            "provide-client-params.sqs.ChangeMessageVisibility",
            lambda params, **_: put_off.append(params["VisibilityTimeout"]),
        )
        assert webhooks.handler(event, None) == {"batchItemFailures": [{"itemIdentifier": keyed["bad"]}]}
        assert put_off == [pytest.approx(DELAYS_S[0], abs=1)]
        assert [told["data"]["id"] for told in receiver.verified()] == ["good"]
        assert platform.get("bad", keys.WEBHOOK)["error"] == "it refuses connections"

    def test_a_message_that_names_no_job_is_kept_for_people_to_look_at(
        self, platform: Platform, queue: str, environment: None
    ) -> None:
        platform.sqs.send_message(QueueUrl=queue, MessageBody="nonsense")
        event = self.event(platform, queue)
        with capture_logs() as logs:
            failed = webhooks.handler(event, None)["batchItemFailures"]
        assert len(failed) == 1
        assert [line["event"] for line in logs] == ["webhook not attempted"]

    def test_a_notice_delivered_raw_is_understood_too(self) -> None:
        attributes = {"key": {"stringValue": "mine", "dataType": "String"}}
        assert Notice.of("r", "{}", attributes, "3") == Notice("r", "mine", 3)

    def test_the_loop_deletes_what_is_done_and_a_slow_receiver_holds_up_nobody(
        self, platform: Platform, queue: str, receiver: Receiver
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for number in range(3):
                ended(platform, f"http://127.0.0.1:{silent.getsockname()[1]}/", job_id=f"slow{number}")
                self.publish(platform, f"slow{number}")
            for number in range(5):
                ended(platform, receiver.url, job_id=f"fast{number}")
                self.publish(platform, f"fast{number}")
            stop = threading.Event()
            worker = Worker(platform.aws.sqs, queue, deliveries(platform), wait_seconds=1)
            thread = threading.Thread(target=worker.run, args=(stop,))
            thread.start()
            deadline = time.monotonic() + 30
            while len(receiver.got) < 5 and time.monotonic() < deadline:
                time.sleep(0.01)
            stop.set()
            thread.join(30)
        assert sorted(told["data"]["id"] for told in receiver.verified()) == [f"fast{number}" for number in range(5)]
        for number in range(3):
            assert platform.get(f"slow{number}", keys.WEBHOOK)["error"] == f"no answer within {TIMEOUT_S:g} s"
        left = platform.sqs.get_queue_attributes(
            QueueUrl=queue,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        assert sum(map(int, left.values())) == 3


def test_the_queue_that_is_composed_lets_every_attempt_happen() -> None:
    assert composed.MOST_ATTEMPTS == MAX_ATTEMPTS
    assert sum(DELAYS_S) * 1.1 < composed.RETENTION_SECONDS
