"""Where there is no API Gateway, the API itself lets in who has a key, and not more often than it may."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.app import create_app
from api.keys import InvalidKeysError, Key, Keys
from tests.api.conftest import Client, Platform

JOB = {"runtime": "tiny", "input": {"prompt": "a red circle"}}
SHOP, LAB = "key-of-the-shop", "key-of-the-lab"


def entry(name: str, key: str, **limits: float) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **limits}


def write(file: Path, *entries: dict[str, Any]) -> None:
    file.write_text(json.dumps({"keys": entries}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "keys.json"
    write(made, entry("shop", SHOP), entry("lab", LAB))
    return made


def gated(platform: Platform, file: Path, **settings: Any) -> Client:
    return Client(create_app(platform.settings.model_copy(update={"api_keys_file": file, **settings}), platform.aws))


def ask(api: Client, key: str | None, path: str = "/v1/runtimes", method: str = "GET", **asked: Any) -> Any:
    return api.request(method, path, headers={"x-api-key": key} if key is not None else {}, **asked)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_whoever_has_a_key_may_ask_and_nobody_else(platform: Platform, file: Path) -> None:
    api = gated(platform, file)
    for key in (SHOP, LAB):
        assert ask(api, key).status_code == 200
        assert ask(api, key, "/v1/jobs", "POST", json=JOB).status_code == 202
    for wrong in (None, "", "wrong", SHOP + " ", SHOP.upper(), "ü", hashlib.sha256(SHOP.encode()).hexdigest()):
        given = None if wrong is None else wrong.encode("latin-1")
        for method, path in (("GET", "/v1/runtimes"), ("POST", "/v1/jobs"), ("POST", "/"), ("GET", "/v2")):
            answer = api.request(method, path, headers={} if given is None else {b"x-api-key": given}, json=JOB)
            assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
            found = answer.json()
            assert found["detail"] == "Forbidden: send a valid API key in the header X-API-Key"
            assert found["message"] == "Forbidden", "API Gateway's word, for clients of the guidance"
    assert len(platform.delivered()["tiny"]) == 2


def test_the_service_itself_needs_no_key_so_that_the_console_can_ask_for_one(platform: Platform, file: Path) -> None:
    api = gated(platform, file)
    document = api.get("/openapi.json").json()
    without = {
        path for path, operations in document["paths"].items() if operations.get("get", {}).get("security") == []
    }
    assert {"/", "/healthz", "/openapi.json"} <= without
    for path in [*without, "/console/console.js"]:
        assert api.get(path).status_code == 200, path
    keyed = {path for path, operations in document["paths"].items() if operations.get("get", {}).get("security")}
    for path in keyed:
        assert api.get(path.replace("{id}", "mine")).status_code == 403, path


def test_nothing_is_read_of_a_request_without_a_key(platform: Platform, file: Path) -> None:
    sent = 0

    async def body() -> Any:
        nonlocal sent
        sent += 1
        yield b"x"

    answer = gated(platform, file).post("/v1/jobs", content=body(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, sent) == (403, 0)


def test_without_a_file_of_keys_all_may_ask(platform: Platform) -> None:
    assert platform.api.get("/v1/runtimes").status_code == 200


def test_the_log_has_the_name_of_the_key_and_never_the_key(platform: Platform, file: Path) -> None:
    api = gated(platform, file)
    with capture_logs() as logs:
        ask(api, SHOP)
        ask(api, "swordfish")
    assert [line.get("key") for line in logs] == ["shop", None]
    assert [line["status"] for line in logs] == [200, 403]
    assert SHOP not in json.dumps(logs)
    assert "swordfish" not in json.dumps(logs)


def test_a_key_that_asks_too_often_is_told_when_to_come_back_and_another_is_not_held_up(
    platform: Platform, file: Path
) -> None:
    write(file, entry("shop", SHOP, rate=0.1, burst=2), entry("lab", LAB))
    api = gated(platform, file)
    assert [ask(api, SHOP).status_code for _ in range(3)] == [200, 200, 429]
    refused = ask(api, SHOP)
    assert refused.headers["content-type"] == "application/problem+json"
    assert 8 <= int(refused.headers["retry-after"]) <= 10
    assert refused.json()["detail"] == 'Too Many Requests: the key "shop" may ask 0.1 times a second'
    assert all(ask(api, LAB).status_code == 200 for _ in range(10))


def test_what_a_key_may_fills_up_again_but_never_above_its_burst(file: Path) -> None:
    write(file, entry("shop", SHOP, rate=2, burst=3))
    clock = Clock()
    keys = Keys(file, clock)
    key = keys.find(SHOP)
    assert key
    assert [keys.wait_seconds(key) for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now = 0.5
    assert [keys.wait_seconds(key) for _ in range(2)] == [0, 0.5]
    clock.now = 1000
    assert [keys.wait_seconds(key) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_changed_file_is_read_again_while_the_api_runs(file: Path) -> None:
    clock = Clock()
    keys = Keys(file, clock)
    assert keys.find(SHOP)
    write(file, entry("lab", LAB), entry("new", "key-of-somebody-new"))
    clock.now = 1
    assert keys.find(SHOP) is None
    assert (keys.find(LAB) or keys).name == "lab"  # type: ignore[union-attr]
    assert keys.find("key-of-somebody-new")


def test_new_limits_hold_at_once_and_old_ones_are_not_filled_up_by_an_unchanged_file(file: Path) -> None:
    write(file, entry("shop", SHOP, rate=1))
    clock = Clock()
    keys = Keys(file, clock)
    slow = keys.find(SHOP)
    assert slow
    assert [keys.wait_seconds(slow) for _ in range(2)] == [0, 1]
    write(file, entry("shop", SHOP, rate=1, burst=20))
    clock.now = 1
    fast = keys.find(SHOP)
    assert fast
    assert [keys.wait_seconds(fast) for _ in range(20)] == [0] * 20


@pytest.mark.parametrize("broken", ["", "{", '{"keys": [{"name": "shop"}]}', None])
def test_while_a_file_cannot_be_read_the_keys_from_before_stay_valid(file: Path, broken: str | None) -> None:
    clock = Clock()
    keys = Keys(file, clock)
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    clock.now = 1
    with capture_logs() as logs:
        assert keys.find(SHOP)
        assert keys.find(SHOP)
    assert [line["event"] for line in logs] == ["API keys not read again; those from before stay valid"]
    assert str(file) in logs[0]["error"]
    write(file, entry("lab", LAB))
    clock.now = 2
    assert keys.find(SHOP) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file: Invalid JSON"),
        ("[]", "the file: Input should be an object"),
        ('{"keys": [{"name": "shop", "key": "swordfish"}]}', "keys.0.sha256: Field required; keys.0.key: Extra inputs"),
        ('{"keys": [{"name": "a b", "sha256": "swordfish"}]}', "keys.0.name: String should match pattern"),
        (json.dumps({"keys": [entry("a", "x", rate=0)]}), "keys.0.rate: Input should be greater than 0"),
        (json.dumps({"keys": [entry("a", "x"), entry("a", "y")]}), "Value error, two keys have one name: a"),
        (json.dumps({"keys": [entry("a", "x"), entry("b", "x")]}), "Value error, two keys have one sha256"),
    ],
)
def test_a_file_that_is_none_is_told_without_quoting_it(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)
    with pytest.raises(InvalidKeysError) as told:
        Keys(file)
    assert problem in str(told.value)
    assert "swordfish" not in str(told.value)


def test_a_new_key_is_made_by_a_command(tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-m", "api.keys", "web-shop"]
    made = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    key, listed = (line.partition(": ")[2] for line in made.stdout.splitlines())
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [json.loads(listed)]}))
    found = Keys(file).find(key)
    assert isinstance(found, Key)
    assert found.name == "web-shop"
    wrong = subprocess.run(
        [*command[:-1], "a b"], cwd=repository, capture_output=True, text=True, check=False, env=os.environ
    )
    assert wrong.returncode == 2


def test_pages_of_other_origins_may_ask_if_they_are_listed(platform: Platform, file: Path) -> None:
    api = gated(platform, file, cors_allowed_origins="https://shop.example.com, https://lab.example.com")
    asking = {
        "Origin": "https://shop.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    allowed = api.request("OPTIONS", "/v1/jobs", headers=asking)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, asking["Origin"])
    assert "X-API-Key" in allowed.headers["access-control-allow-headers"]
    refused = api.get("/v1/runtimes", headers={"Origin": "https://shop.example.com"})
    assert refused.status_code == 403
    assert refused.headers["access-control-allow-origin"] == asking["Origin"], "its page is to see why"
    stranger = api.request("OPTIONS", "/v1/jobs", headers=asking | {"Origin": "https://other.example.com"})
    assert (stranger.status_code, "access-control-allow-origin" in stranger.headers) == (400, False)
    assert api.request("OPTIONS", "/v1alpha2").text == "Unsupported HTTP method", "which is no browser's question"
