"""What an operator is told about the agent's environment."""

import re
from pathlib import Path

import pytest

from agent.adapters import adapter
from agent.settings import Settings, SettingsError, load
from tests.agent.conftest import Spawn

NEEDED = {
    "SQS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/q",
    "SNS_TOPIC_ARN": "arn:aws:sns:eu-west-1:1:t",
    "S3_BUCKET": "b",
    "RUNTIME_NAME": "sdRuntime",
    "AWS_DEFAULT_REGION": "eu-west-1",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*Settings.model_fields, "aws_default_region"]:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_the_guidances_environment_is_enough() -> None:
    settings = load()
    assert settings.api_base_url == "http://localhost:8080"
    assert settings.runtime_type == "sdwebui"
    assert settings.runtime_name == "sdruntime", "as messages spell it"
    assert settings.aws_region == "eu-west-1"
    assert not settings.dynamic_sd_model


@pytest.mark.parametrize(
    "url",
    ["http://web:7860", "http://web:7860/", "http://web:7860/sdapi/v1", "http://web:7860/sdapi/v1/", "web:7860"],
)
def test_base_url_may_have_the_api_s_path_or_not(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("API_BASE_URL", url)
    assert load().api_base_url == "http://web:7860"


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_INPUT_HOSTS", "a.example, *.B.example,")
    assert load().allowed_input_hosts == {"a.example", "*.b.example"}


def test_everything_that_is_wrong_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S3_BUCKET")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("SQS_QUEUE_URL", "")
    monkeypatch.setenv("PREFETCH", "many")
    monkeypatch.setenv("DYNAMIC_SD_MODEL", "perhaps")
    monkeypatch.setenv("VISIBILITY_TIMEOUT_SECONDS", "1")
    with pytest.raises(SettingsError) as caught:
        load()
    lines = dict(line.split(": ", 1) for line in str(caught.value).splitlines())
    assert set(lines) == {
        "SQS_QUEUE_URL",
        "S3_BUCKET",
        "AWS_REGION",
        "PREFETCH",
        "DYNAMIC_SD_MODEL",
        "VISIBILITY_TIMEOUT_SECONDS",
    }
    assert lines["S3_BUCKET"] == "must be set"
    assert "valid integer" in lines["PREFETCH"]
    assert "greater than or equal to 3" in lines["VISIBILITY_TIMEOUT_SECONDS"]


def test_type_without_an_adapter_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_TYPE", "comfyui2")
    with pytest.raises(SettingsError, match=r"RUNTIME_TYPE: must be one of .*sdwebui"):
        adapter(load())


def test_agent_that_cannot_start_says_why_and_exits_with_2(spawn: Spawn) -> None:
    agent = spawn(s3_bucket="", runtime_type="sdwebui")
    assert agent.popen.wait(30) == 2
    assert agent.log_file.read_text() == "S3_BUCKET: must be set\n"


def test_readme_tells_every_variable_and_its_default(repository: Path) -> None:
    text = (repository / "agent/README.md").read_text()
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        shown = str(default).lower() if isinstance(default, bool) else default
        if field.is_required():
            row = f"| `{name.upper()}` | required | {field.description} |"
        elif not default and not isinstance(default, (bool, int)):
            row = f"| `{name.upper()}` | | {field.description} |"
        else:
            row = f"| `{name.upper()}` | `{shown}` | {field.description} |"
        assert row in text


def test_readme_names_tests_that_there_are(repository: Path) -> None:
    text = (repository / "agent/README.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (repository / "tests/agent" / file).read_text(), f"{file} has no {test}"
