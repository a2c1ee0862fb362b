"""Links to pictures are those that boto3 itself makes."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from botocore.credentials import Credentials

from api.aws import connect
from api.signing import Signer

KEY = "output/Katze 猫/it's+50%~(1)&x=[y]?#-1.png"
SECONDS = 900


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is in a link: it stands still."""
    now = datetime.now(UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: now)


@pytest.mark.parametrize(
    ("bucket", "environ"),
    [
        ("outputs", {}),
        ("outputs.with.dots", {"AWS_DEFAULT_REGION": "eu-central-1"}),
        ("outputs", {"AWS_DEFAULT_REGION": "cn-north-1", "AWS_SESSION_TOKEN": "of/a+role=="}),
        ("outputs", {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}),
    ],
)
def test_a_link_is_the_one_that_boto3_makes(
    bucket: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    aws = connect()
    expected = aws.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": KEY}, ExpiresIn=SECONDS)
    url, _ = Signer(aws, bucket, SECONDS).link(KEY)
    assert url == expected


def test_a_link_is_signed_by_whom_the_api_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Credentials("first", "secret")
    aws = replace(connect(), credentials=credentials)
    signer = Signer(aws, "outputs", SECONDS)
    assert "Credential=first" in signer.link("a.png")[0]
    credentials.access_key = "second"
    assert "Credential=second" in signer.link("b.png")[0]
