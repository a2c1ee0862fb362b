"""What the job API really asks of AWS is allowed by the roles of its functions, on resources that the claims made."""

import asyncio
import json
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import httpx
import pytest

from api.app import create_app
from api.aws import Clients, connect
from api.service import assemble
from api.settings import Settings
from bootstrap.local.provider import Provider
from bootstrap.local.reconciler import Reconciler
from contract import keys
from tests.apps.crossplane.claims import ADMISSION, COMPOSITIONS, Manifest, api, claim, compose, settings
from tests.apps.crossplane.test_roles import may
from tests.conftest import ACCOUNT_ID, REGION, Aws

ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket"}
Call = tuple[str, str]  # action, resource


@pytest.fixture
def front(aws: Aws) -> Manifest:
    """An InferenceAPI of its own, with a runtime, made on the emulator."""
    name = f"t{uuid.uuid4().hex[:8]}"
    place = {"region": REGION, "accountId": ACCOUNT_ID, "outputs": {}, "alarms": {}}
    listed = [{"name": "sdruntime", "namespace": "default", "type": "sdwebui", "dynamic": True}]
    made, runtime = api(runtimes=listed, **place), claim("inferenceruntime")
    made["metadata"]["name"] = name
    runtime["metadata"]["labels"] = {"darkroom.dev/api": name}
    runtime["spec"]["apiRef"]["name"] = name
    session = boto3.Session("test", "test", region_name=REGION)
    reconciler = Reconciler(partial(Provider, session, aws.url), ADMISSION, COMPOSITIONS)
    reconciler.reconcile([made, runtime])
    return made | {"status": reconciler.status("InferenceAPI")}


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
    clients, seen = connect(), list[Call]()

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

    for client in (clients.s3, clients.sns, clients.sqs):
        client.meta.events.register("provide-client-params", note)
    return clients, seen


def ask(app: Any, *requests: tuple[str, str, Any]) -> list[httpx.Response]:
    async def answers() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
            return [await client.request(method, path, json=body) for method, path, body in requests]

    return asyncio.run(answers())


def refused(front: Manifest, role: str, seen: list[Call]) -> set[Call]:
    policy = compose(front)[f"{role}-role-policy"]
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
