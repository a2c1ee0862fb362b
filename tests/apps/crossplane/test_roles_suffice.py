"""What the job API and agents really ask of AWS is allowed by their roles, on resources that the claims made."""

import asyncio
import json
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import httpx
import pytest

from agent.main import build
from agent.metrics import Metrics
from agent.settings import load
from api.app import create_app
from api.aws import Clients, connect
from api.service import assemble
from api.settings import Settings
from bootstrap.local.provider import Provider
from bootstrap.local.reconciler import Reconciler
from contract import keys
from tests.agent.conftest import WebUI, png, webui  # noqa: F401 - webui is a fixture
from tests.apps.crossplane.claims import ADMISSION, COMPOSITIONS, Manifest, api, claim, compose, settings
from tests.apps.crossplane.test_roles import may
from tests.conftest import ACCOUNT_ID, PATIENCE_S, REGION, Aws, eventually

ACTIONS = {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
}
Call = tuple[str, str]  # action, resource


@pytest.fixture
def cluster(aws: Aws) -> tuple[Manifest, Manifest]:
    """An InferenceAPI of its own and its runtime, made on the emulator, with what they tell."""
    name = f"t{uuid.uuid4().hex[:8]}"
    place = {"region": REGION, "accountId": ACCOUNT_ID, "outputs": {}, "alarms": {}}
    listed = [{"name": "sdruntime", "namespace": "default", "type": "sdwebui", "dynamic": True}]
    made, runtime = api(runtimes=listed, **place), claim("inferenceruntime", inputBuckets=[f"{name}-photographs"])
    made["metadata"]["name"] = name
    runtime["metadata"]["labels"] = {"darkroom.dev/api": name}
    runtime["spec"]["apiRef"]["name"] = name
    session = boto3.Session("test", "test", region_name=REGION)
    reconciler = Reconciler(partial(Provider, session, aws.url), ADMISSION, COMPOSITIONS)
    reconciler.reconcile([made, runtime])
    front, back = reconciler.status("InferenceAPI"), reconciler.status("InferenceRuntime")
    return made | {"status": front}, runtime | {"status": back}


@pytest.fixture
def front(cluster: tuple[Manifest, Manifest]) -> Manifest:
    """The InferenceAPI."""
    return cluster[0]


@pytest.fixture
def environment(front: Manifest) -> dict[str, str]:
    """What the functions are told."""
    found: dict[str, str] = settings(compose(front)["api-function"])["environment"]["variables"]
    return found


@pytest.fixture
def calls(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> tuple[Clients, list[Call]]:
    """Clients of the emulator, and what they are used for, as IAM sees it."""
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    seen = list[Call]()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        service, action = model.service_model.service_name, ACTIONS.get(model.name, model.name)
        if service == "s3":
            key = f"/{params['Key']}" if "Key" in params else ""
            seen.append((f"s3:{action}", f"arn:aws:s3:::{params['Bucket']}{key}"))
        elif service == "sqs":
            queue = params["QueueUrl"].rpartition("/")[2]
            seen.append((f"sqs:{action}", f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{queue}"))
        else:
            seen.append((f"{service}:{action}", params["TopicArn"]))

    # Whoever makes clients makes them of this session.
    session = boto3.Session()
    session.events.register("provide-client-params", note)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    monkeypatch.setattr(boto3, "Session", lambda: session)
    return connect(), seen


def ask(app: Any, *requests: tuple[str, str, Any]) -> list[httpx.Response]:
    async def answers() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
            return [await client.request(method, path, json=body) for method, path, body in requests]

    return asyncio.run(answers())


def refused(front: Manifest, role: str, seen: list[Call]) -> set[Call]:
    return beyond(compose(front)[f"{role}-role-policy"], seen)


def beyond(policy: Manifest, seen: list[Call]) -> set[Call]:
    return {call for call in seen if not may(policy, *call)}


def test_the_role_of_the_job_api_allows_all_that_it_asks_for(
    front: Manifest, environment: dict[str, str], calls: tuple[Clients, list[Call]]
) -> None:
    clients, seen = calls
    told: Callable[..., Settings] = Settings
    app = create_app(told(**{name.lower(): value for name, value in environment.items()}), clients)
    job = {"id": "one", "input": {"prompt": "a cat"}}
    large = {"id": "two", "input": {"prompt": "a cat" * 100_000}}
    answers = ask(
        app,
        ("POST", "/v1/jobs", job),
        ("POST", "/v1/jobs", job),
        ("POST", "/v1/jobs", large),
        ("GET", "/v1/jobs/one", None),
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/runtimes", None),
        ("POST", "/v1/uploads", {"content_type": "image/png", "size": 10}),
        ("DELETE", "/v1/jobs/one", None),
        ("GET", "/v1/jobs/one", None),
    )
    assert [answer.status_code // 100 for answer in answers] == [2] * len(answers), [it.text for it in answers]
    assert {action for action, _ in seen} == {
        "s3:DeleteObject",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
        "sns:Publish",
        "sqs:GetQueueAttributes",
    }
    assert refused(front, "api", seen) == set()


def test_the_role_of_reconciliation_allows_all_that_it_asks_for(
    front: Manifest, environment: dict[str, str], calls: tuple[Clients, list[Call]]
) -> None:
    clients, seen = calls
    told: Callable[..., Settings] = Settings
    given = told(**{name.lower(): value for name, value in environment.items()}, reconcile_grace_seconds=-60)
    app = create_app(given, clients)
    notes: list[tuple[str, bytes]] = []

    def keep(params: dict[str, Any], **_: Any) -> None:
        if params["Key"].startswith(keys.OUTBOX):
            notes.append((params["Key"], params["Body"]))

    clients.s3.meta.events.register("provide-client-params.s3.PutObject", keep)
    (taken,) = ask(app, ("POST", "/v1/jobs", {"id": "one", "input": {"prompt": "a cat"}}))
    assert taken.status_code == 202
    # As if the API had died before it did anything but note what it was about to do.
    (key, body), bucket = notes[0], environment["S3_OUTPUT_BUCKET"]
    other = json.loads(body) | {"key": "two"}
    clients.s3.put_object(Bucket=bucket, Key=key.replace("one", "two"), Body=json.dumps(other).encode())
    seen.clear()
    assert sum(assemble(given, clients).reconciler.run().values()) == 1
    assert ("sns:Publish", front["status"]["inputTopicArn"]) in seen
    assert refused(front, "reconciler", seen) == set()


def test_the_role_of_a_runtime_s_pods_allows_all_that_an_agent_asks_for(
    cluster: tuple[Manifest, Manifest],
    environment: dict[str, str],
    calls: tuple[Clients, list[Call]],
    webui: WebUI,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (front, runtime), (clients, seen) = cluster, calls
    resources = compose(runtime, {}, front)
    bucket, photographs = environment["S3_OUTPUT_BUCKET"], runtime["spec"]["inputBuckets"][0]
    clients.s3.create_bucket(Bucket=photographs)
    inputs = {bucket: "uploads/one/cat.png", photographs: "cat.png"}
    for place, key in inputs.items():
        clients.s3.put_object(Bucket=place, Key=key, Body=png(1))
    told: Callable[..., Settings] = Settings
    app = create_app(told(**{name.lower(): value for name, value in environment.items()}), clients)
    pictures = [f"s3://{place}/{key}" for place, key in inputs.items()]
    drawn = {"id": "drawn", "task": "image-to-image", "input": {"prompt": "a cat", "init_images": pictures}}
    large = {"id": "large", "input": {"prompt": "a cat" * 100_000}}
    taken = ask(app, ("POST", "/v1/jobs", drawn), ("POST", "/v1/jobs", large))
    assert [answer.status_code for answer in taken] == [202, 202], [answer.text for answer in taken]
    seen.clear()

    given = {"API_BASE_URL": f"{webui.url}/sdapi/v1/", "DYNAMIC_SD_MODEL": "true", "RECEIVE_WAIT_SECONDS": "1"}
    for name, value in (resources["config"]["data"] | given).items():
        monkeypatch.setenv(name, value)
    pipeline = build(load(), Metrics())
    agent = threading.Thread(target=pipeline.run, daemon=True)
    agent.start()
    try:
        eventually(lambda: [action for action, _ in seen].count("sqs:DeleteMessage") == 2, "the end of both jobs")
    finally:
        pipeline.shutdown.request()
        agent.join(PATIENCE_S)
    asked = list(seen)
    ends = ask(app, ("GET", "/v1/jobs/drawn", None), ("GET", "/v1/jobs/large", None))
    assert [end.json()["status"] for end in ends] == ["succeeded", "succeeded"], [end.text for end in ends]
    assert {action for action, _ in asked} >= {"s3:GetObject", "s3:PutObject", "sns:Publish", "sqs:ReceiveMessage"}
    assert {("s3:GetObject", f"arn:aws:s3:::{place}/{key}") for place, key in inputs.items()} <= set(asked)
    assert beyond(resources["role-policy"], asked) == set()
