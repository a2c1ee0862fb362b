"""Whatever a message holds, it is a job, or is said to be none; and no job gets out of its folder."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import keys
from contract.job import InvalidJobError, Job, decode
from tests.agent.conftest import RUNTIME
from tests.agent.fuzz import fuzzed, json_values

metadata_fields = st.sampled_from(
    [
        "id", "runtime", "tasktype", "prefix", "context", "form", "created_at", "expires_at", "deadline", "content_ref",
        "webhook",
    ]
)  # fmt: skip
header_fields = st.sampled_from(
    ["task", "id_task", "image_link", "sd_vae", "override_settings", "controlnet", "sd_model_checkpoint"]
)
metadata = st.dictionaries(
    metadata_fields,
    json_values
    | st.sampled_from(["text-to-image", "pipeline", "v1", "seed", "a", "..", "2026-01-01", "https://h/w", "jobs"]),
)
headers = st.dictionaries(header_fields, json_values | st.just("text-to-image"))
messages = (
    st.text()
    | json_values.map(json.dumps)
    | st.fixed_dictionaries({"metadata": metadata | json_values, "content": json_values}).map(json.dumps)
    | st.fixed_dictionaries({"alwayson_scripts": headers}).map(json.dumps)
    | st.fixed_dictionaries({"Type": st.just("Notification"), "Message": json_values}).map(json.dumps)
)


def assert_inside(job: Job) -> None:
    """Assert that all that a job writes is in its own folders."""
    for key in (job.image_key(1, ".png"), job.document_key):
        assert key.startswith(f"{job.folder}/")
        assert key.count("/") == job.folder.count("/") + 1
        assert not {"", ".", ".."} & set(key.split("/"))
        assert key.split("/")[0] not in keys.RESERVED
        key.encode()
    record = keys.record(job.key, keys.RESULT)
    assert record.split("/")[::2] == [keys.JOBS, keys.RESULT]
    assert record.count("/") == 2
    assert job.key not in {"", ".", ".."}


@fuzzed
@given(body=messages)
def test_any_message_is_a_job_or_is_said_to_be_none(body: str) -> None:
    try:
        job = decode(body, RUNTIME)
    except InvalidJobError:
        return
    assert_inside(job)


@fuzzed
@given(
    job_id=st.text(min_size=1), prefix=st.text() | st.lists(st.sampled_from(["a", "..", ".", "jobs", ""])).map("/".join)
)
def test_job_stays_in_its_folder_whatever_its_id_and_prefix(job_id: str, prefix: str) -> None:
    form = {"id": job_id, "tasktype": "text-to-image", "prefix": prefix}
    try:
        job = decode(json.dumps({"metadata": form, "content": {}}), RUNTIME)
    except InvalidJobError:
        return
    assert_inside(job)


@pytest.mark.parametrize("job_id", ["../j", "a/b", "..", ".", "a\\b", "a\nb", "\0", "a\ud800", ""])
@pytest.mark.parametrize("form", ["v1", "v1alpha2"])
def test_id_that_would_lead_elsewhere_is_refused(job_id: str, form: str) -> None:
    metadata = {"id": job_id, "tasktype": "text-to-image", "prefix": "out", "form": form}
    with pytest.raises(InvalidJobError, match="id"):
        decode(json.dumps({"metadata": metadata, "content": {}}), RUNTIME)


@pytest.mark.parametrize(
    "prefix",
    ["..", "a/../b", "/../a", "./a", "jobs", "/jobs", "jobs/x", "index", "uploads/a", "a\\b", "a\nb", "a\ud800"],
)
def test_prefix_that_would_lead_elsewhere_is_refused(prefix: str) -> None:
    metadata = {"id": "j", "tasktype": "text-to-image", "prefix": prefix}
    with pytest.raises(InvalidJobError, match="prefix"):
        decode(json.dumps({"metadata": metadata, "content": {}}), RUNTIME)


@pytest.mark.parametrize("depth", [200, 5_000, 200_000])
def test_message_that_nests_without_end_is_no_job(depth: int) -> None:
    with pytest.raises(InvalidJobError):
        decode("[" * depth, RUNTIME)
    content = "[" * depth + "]" * depth
    with pytest.raises(InvalidJobError):
        decode(f'{{"metadata": {{"id": "j", "tasktype": "pipeline"}}, "content": {{"a": {content}}}}}', RUNTIME)


def test_number_with_thousands_of_digits_is_no_job() -> None:
    with pytest.raises(InvalidJobError):
        decode(f'{{"metadata": {{"id": {"9" * 5000}, "tasktype": "pipeline"}}, "content": {{}}}}', RUNTIME)
