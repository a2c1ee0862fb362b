"""Whatever comes in one of the guidance's forms: an answer that says what is wrong, no fault, and nothing logged."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from api.legacy import FORMS
from contract.job import MAX_ID_LENGTH, MAX_PREFIX_LENGTH
from tests.api.conftest import Platform
from tests.api.test_guidance_requests import TEXT_TO_IMAGE, V1ALPHA2, payloads

SECRET = "swordfish"
_HEADER = TEXT_TO_IMAGE["alwayson_scripts"]
# What each form puts where: its id and its prefix.
PLACES: dict[str, Any] = {
    "/": lambda job_id, prefix: {"alwayson_scripts": {**_HEADER, "id_task": job_id}},
    "/v1alpha1": lambda job_id, prefix: {"alwayson_scripts": {**_HEADER, "id_task": job_id, "save_dir": prefix}},
    "/v1alpha2": lambda job_id, prefix: {
        "task": {"metadata": {**V1ALPHA2["task"]["metadata"], "id": job_id, "prefix": prefix}, "content": {}}
    },
}
TEXT = st.text(alphabet=st.characters(codec=None), max_size=8)  # half characters, too
ODD = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.lists(TEXT, max_size=2)


@st.composite
def nearly_right(draw: st.DrawFn) -> tuple[str, Any]:
    """A form, and a request of it in which a few values are odd."""
    path = draw(st.sampled_from(sorted(FORMS)))
    body = PLACES[path]("a", "b")
    header = body["task"]["metadata"] if "task" in body else body["alwayson_scripts"]
    for name in draw(st.lists(st.sampled_from([*header, "context", "image_link", "sd_vae"]), max_size=3)):
        header[name] = draw(ODD)
    return path, body


@given(nearly_right() | st.tuples(st.sampled_from(sorted(FORMS)), payloads))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_no_request_is_a_fault(platform: Platform, asked: tuple[str, Any]) -> None:
    path, body = asked
    answer = platform.api.post(path, content=json.dumps(body))
    assert answer.status_code in {200, 400}
    if answer.status_code == 200:
        assert answer.json()["output_location"].startswith("s3://")
        assert sum(map(len, platform.delivered().values())) == 1
    else:
        assert answer.text
        assert platform.delivered() == {}


@given(st.sampled_from(sorted(FORMS)), st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_nor_are_bytes_of_any_kind(platform: Platform, path: str, body: bytes) -> None:
    assert platform.api.post(path, content=body).status_code == 400


@pytest.mark.parametrize("path", FORMS)
def test_an_id_may_be_as_long_as_it_may_and_no_longer(platform: Platform, path: str) -> None:
    assert platform.api.post(path, json=PLACES[path]("i" * MAX_ID_LENGTH, "p")).status_code == 200
    refused = platform.api.post(path, json=PLACES[path]("i" * (MAX_ID_LENGTH + 1), "p"))
    assert (refused.status_code, refused.text.startswith("the id must be 1 to 128")) == (400, True)


@pytest.mark.parametrize("path", ["/v1alpha1", "/v1alpha2"])
def test_a_prefix_may_be_as_long_as_it_may_and_no_longer(platform: Platform, path: str) -> None:
    assert platform.api.post(path, json=PLACES[path]("a", "p" * MAX_PREFIX_LENGTH)).status_code == 200
    refused = platform.api.post(path, json=PLACES[path]("a", "p" * (MAX_PREFIX_LENGTH + 1)))
    assert (refused.status_code, refused.text.startswith("the prefix must be a folder of at most 512")) == (400, True)


@pytest.mark.parametrize("path", FORMS)
def test_a_body_may_be_as_large_as_it_may_and_no_larger(platform: Platform, path: str) -> None:
    limit = platform.settings.max_body_bytes
    body = json.dumps(PLACES[path]("a", "p"))
    assert platform.api.post(path, content=body.ljust(limit)).status_code == 200
    assert platform.api.post(path, content=body.ljust(limit + 1)).status_code == 413


@pytest.mark.parametrize("path", FORMS)
def test_nothing_of_it_is_logged(platform: Platform, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    headers = {"x-api-key": SECRET, "Cookie": SECRET}
    with capture_logs() as logs:
        for body in (
            PLACES[path]("a", SECRET) | {"prompt": SECRET},
            PLACES[path](f"{SECRET}/", SECRET),
            {"alwayson_scripts": {**_HEADER, "sd_model_checkpoint": SECRET, "task": SECRET}},
            {"task": {"metadata": SECRET, "content": SECRET}},
            SECRET,
        ):
            platform.api.post(path, json=body, headers=headers, params={"token": SECRET})
    printed = capfd.readouterr()
    assert [line["route"] for line in logs if line["event"] == "request"] == [path] * 5
    assert SECRET not in json.dumps(logs) + printed.out + printed.err
