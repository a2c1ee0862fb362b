"""People bring models to the bucket."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from generator.load import load
from operations import models
from operations.__main__ import main
from operations.upload import UploadError, upload

BUCKET, KEY = "models", "Stable-diffusion/a.safetensors"
MIB = 1024**2
PART = 5 * MIB


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        _list_checksums(client)
        yield client


def _list_checksums(client: Any) -> None:
    """Have ListParts tell the parts' checksums, as S3 does; moto leaves them out."""
    known: dict[int, str] = {}

    def learn(params: dict[str, Any], **_: Any) -> None:
        if "ChecksumSHA256" in params:
            known[params["PartNumber"]] = params["ChecksumSHA256"]

    def tell(parsed: dict[str, Any], **_: Any) -> None:
        for part in parsed.get("Parts", []):
            part["ChecksumSHA256"] = known.get(part["PartNumber"], "")

    client.meta.events.register_last("before-parameter-build.s3.UploadPart", learn)
    client.meta.events.register("after-call.s3.ListParts", tell)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.safetensors"
    file.write_bytes(os.urandom(2 * PART + 17))
    return file


def parts_sent(s3: Any) -> list[int]:
    sent: list[int] = []
    s3.meta.events.register(
        "before-parameter-build.s3.UploadPart", lambda params, **_: sent.append(params["PartNumber"])
    )
    return sent


def test_a_model_arrives_whole_and_progress_adds_up(s3: Any, file: Path) -> None:
    steps: list[int] = []
    assert upload(s3, file, BUCKET, KEY, steps.append, PART)
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == file.read_bytes()
    assert sum(steps) == file.stat().st_size


def test_a_model_that_is_there_is_not_sent_again(s3: Any, file: Path) -> None:
    upload(s3, file, BUCKET, KEY, lambda _: None, PART)
    sent = parts_sent(s3)
    assert not upload(s3, file, BUCKET, KEY, lambda _: None, PART)
    assert sent == []


def test_an_interrupted_upload_goes_on_with_the_parts_that_are_missing(s3: Any, file: Path) -> None:
    def interrupted(params: dict[str, Any], **_: Any) -> None:
        if params["PartNumber"] == 3:
            raise KeyboardInterrupt

    event = "before-parameter-build.s3.UploadPart"
    s3.meta.events.register(event, interrupted)
    with pytest.raises(KeyboardInterrupt):
        upload(s3, file, BUCKET, KEY, lambda _: None, PART)
    s3.meta.events.unregister(event, interrupted)
    sent = parts_sent(s3)
    assert upload(s3, file, BUCKET, KEY, lambda _: None, PART)
    assert 3 in sent
    assert len(sent) < 3
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == file.read_bytes()
    assert not s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_parts_of_another_file_are_replaced(s3: Any, file: Path) -> None:
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key=KEY, ChecksumAlgorithm="SHA256")
    s3.upload_part(
        Bucket=BUCKET,
        Key=KEY,
        UploadId=begun["UploadId"],
        PartNumber=1,
        Body=b"x" * PART,
        ChecksumAlgorithm="SHA256",
    )
    upload(s3, file, BUCKET, KEY, lambda _: None, PART)
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == file.read_bytes()


def test_an_empty_file_is_refused(s3: Any, tmp_path: Path) -> None:
    empty = tmp_path / "a.safetensors"
    empty.touch()
    with pytest.raises(UploadError, match="is empty: download it again"):
        upload(s3, empty, BUCKET, KEY, lambda _: None)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("Stable-diffusion", "a.safetensors", None),
        ("lora", "a.safetensors", "write KIND=Lora"),
        ("loras", "a.safetensors", None),
        ("Checkpoint", "a.safetensors", "use one of CLIP"),
        ("Lora", "a.zip", "has to end in one of .safetensors"),
    ],
)
def test_what_no_runtime_would_look_for_is_refused(repository: Path, kind: str, name: str, told: str | None) -> None:
    config = load((repository / "clusters/production/config.yaml").read_text(), "config.yaml").config
    found = models.problem(config, kind, name)
    assert (found is None) if told is None else (found and told in found)


def test_a_runtime_whose_model_is_missing_is_named(repository: Path) -> None:
    config = load((repository / "clusters/production/config.yaml").read_text(), "config.yaml").config
    told = dict(line.split(": ", 1) for _, line in models.report(config, {KEY: 1}))
    assert "sd_xl_turbo_1.0.safetensors is missing in Stable-diffusion/" in told["sdruntime"]
    assert told["dynamic"] == "any of a.safetensors"
    assert all(well for well, _ in models.report(config, {"Stable-diffusion/sd_xl_turbo_1.0.safetensors": 1}))


def test_the_command_brings_the_model_that_its_cluster_lacks(
    s3: Any, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.create_bucket(
        Bucket="darkroom-models-123456789012", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    model = tmp_path / "sd_xl_turbo_1.0.safetensors"
    model.write_bytes(b"weights")
    clusters = repository / "clusters"
    assert main(["models", "production"], clusters) == 1
    assert "is missing" in capsys.readouterr().out
    assert main(["upload-model", "production", str(model)], clusters) == 0
    assert main(["models", "production"], clusters) == 0
    assert main(["upload-model", "production", str(model)], clusters) == 0
    assert "was there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["models", "nowhere"], "clusters/nowhere/config.yaml"),
        (["upload-model", "production", "a.zip"], "no runtime loads 'a.zip'"),
        (["redrive", "production", "sdruntim"], "is none of this cluster's: comfy, dynamic, sdruntime"),
    ],
)
def test_what_makes_no_sense_is_explained(
    repository: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(arguments, repository / "clusters") == 2
    assert told in capsys.readouterr().err
