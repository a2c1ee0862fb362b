"""A snapshot is made with the runtimes' images; whatever happens, nothing else is left."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

import operations.__main__
from generator import names
from generator.load import load
from generator.model import Config
from operations.__main__ import architecture, images, main, written
from operations.snapshot import TAG, Request, Snapshot, SnapshotError
from tests.generator.cases import values
from tests.runtimes.chart import Chart
from tests.runtimes.conftest import chart  # noqa: F401 - a fixture

REGION = "us-east-1"
LABEL = "--label=io.cri-containerd.image=managed"
IMAGE = "public.ecr.aws/docker/library/busybox:1.37"
PARAMETER = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_id"
Make = Callable[..., Snapshot]


class Ssm:
    """Systems Manager: moto has neither the AMI of this version nor instances that answer."""

    def __init__(self, image_id: str) -> None:
        self.image_id = image_id
        self.status = "Success"
        self.commands: list[str] = []
        self.interrupted = False
        self.exceptions = boto3.client("ssm", region_name=REGION).exceptions

    def get_parameter(self, Name: str) -> Any:  # noqa: N803 - boto3's name
        assert Name == PARAMETER
        return {"Parameter": {"Value": self.image_id}}

    def describe_instance_information(self, **_: Any) -> Any:
        return {"InstanceInformationList": [{"PingStatus": "Online"}]}

    def send_command(self, **asked: Any) -> Any:
        if self.interrupted:
            raise KeyboardInterrupt
        self.commands += asked["Parameters"]["commands"]
        return {"Command": {"CommandId": "c"}}

    def get_command_invocation(self, **_: Any) -> Any:
        return {"Status": self.status, "StandardErrorContent": "not found"}


@pytest.fixture(scope="module")
def image_id() -> Iterator[str]:
    """An AMI of moto, which all tests share: its policies of AWS take seconds to load."""
    with pytest.MonkeyPatch.context() as environ:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environ.setenv(name, "test")
        with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
            yield boto3.client("ec2", region_name=REGION).describe_images(Owners=["amazon"])["Images"][0]["ImageId"]


@pytest.fixture
def ssm(image_id: str) -> Iterator[Ssm]:
    yield Ssm(image_id)
    for snapshot_id in left()[2]:
        boto3.client("ec2", region_name=REGION).delete_snapshot(SnapshotId=snapshot_id)


@pytest.fixture
def make(ssm: Ssm) -> Make:
    ec2 = boto3.client("ec2", region_name=REGION)
    subnet_id = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    request = Request("darkroom", "aws", "1.35", (IMAGE,), subnet_id, tags={"team": "a"})

    def client(service: str) -> Any:
        return ssm if service == "ssm" else boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    return lambda: Snapshot(client, request, lambda _: None, poll_s=0.01, patience_s=10)


def left() -> tuple[list[str], list[str], list[str]]:
    """Return what a run left: live instances, roles, snapshots."""
    ec2, iam = boto3.client("ec2", region_name=REGION), boto3.client("iam", region_name=REGION)
    instances = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
    snapshots = ec2.describe_snapshots(Filters=[{"Name": f"tag:{TAG}", "Values": ["darkroom"]}])["Snapshots"]
    return (
        [one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"],
        [role["RoleName"] for role in iam.list_roles()["Roles"] if role["RoleName"] == "darkroom-snapshot"],
        [snapshot["SnapshotId"] for snapshot in snapshots],
    )


def test_the_images_are_pulled_and_only_the_snapshot_is_left(ssm: Ssm, make: Make) -> None:
    snapshot_id = make().make()
    [command] = ssm.commands
    assert command.endswith(f"pull-image --registry-config=/etc/host-containers/host-ctr.toml {LABEL} --source={IMAGE}")
    assert left() == ([], [], [snapshot_id])


def test_a_second_run_keeps_the_first_snapshot(make: Make) -> None:
    first, second = make().make(), make().make()
    assert first != second
    assert left()[2] == [first, second]


def test_an_interrupted_run_leaves_nothing(ssm: Ssm, make: Make) -> None:
    ssm.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        make().make()
    assert left() == ([], [], [])


def test_what_another_run_has_stays_until_people_say_that_it_was_killed(
    ssm: Ssm, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssm.interrupted = True
    with monkeypatch.context() as killed:
        killed.setattr(Snapshot, "_clean", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            make().make()
    assert left()[:2] != ([], [])
    ssm.interrupted = False
    assert left()[0]
    with pytest.raises(SnapshotError, match="clear away what it has with REPLACE=1"):
        make().make()
    assert left()[0], "it may be at work"
    assert make().make(replace=True) in left()[2]
    assert left()[:2] == ([], [])


def test_an_image_that_cannot_be_pulled_is_named(ssm: Ssm, make: Make) -> None:
    ssm.status = "Failed"
    with pytest.raises(SnapshotError, match=r"busybox:1\.37 could not be pulled \(Failed\): not found"):
        make().make()
    assert left() == ([], [], [])


def test_a_second_run_at_the_same_time_is_told_and_harms_nothing(ssm: Ssm, make: Make) -> None:
    told: list[str] = []
    send = ssm.send_command

    def meanwhile(**asked: Any) -> Any:
        with pytest.raises(SnapshotError, match="another run makes a snapshot") as error:
            make().make()
        told.append(str(error.value))
        return send(**asked)

    ssm.send_command = meanwhile  # type: ignore[method-assign]
    assert make().make() in left()[2]
    assert told


def test_sigterm_cleans_up_as_well(ssm: Ssm, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(**_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)  # which the signal ends

    ssm.send_command = terminated  # type: ignore[method-assign]
    monkeypatch.setattr(
        operations.__main__,
        "_client",
        lambda _, service: ssm if service == "ssm" else boto3.client(service, region_name=REGION),
    )
    ec2 = boto3.client("ec2", region_name=REGION)
    subnet_id = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.create_tags(Resources=[subnet_id], Tags=[{"Key": names.DISCOVERY_TAG, "Value": "darkroom"}])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["snapshot", "production"], repository / "clusters") == 130
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert left() == ([], [], [])


VALUES = "{{karpenter: {{provisioner: {{instanceType: [{}]}}}}, runtime: {{inferenceApi: {{image: {}}}}}}}"
CONFIG = """
modelsRuntime: [{{name: a, modelFilename: a.ckpt, extraValues: {}}}]
cluster: {{accountId: "123456789012", region: us-east-1, repository: {{url: "https://git.example.com/a.git"}}}}
"""


def config(instance_types: str = "g5.xlarge", image: str = "{}") -> Config:
    return load(CONFIG.format(VALUES.format(instance_types, image)), "config.yaml").config


@pytest.mark.parametrize(
    "image", ["{}", "{tag: 2.0.0}", "{repository: a.example.com/b}", '{repository: "a.example.com:5000/b:1"}']
)
def test_the_images_are_those_that_the_chart_runs(chart: Chart, image: str) -> None:  # noqa: F811
    made = config(image=image)
    text = CONFIG.format(VALUES.format("g5.xlarge", image))
    [deployment] = [one for one in chart.render(values(text, "a")) if one["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    run = {one["image"] for one in (*pod.get("initContainers", []), *pod["containers"]) if "xray" not in one["image"]}
    assert set(images(made)) == run


def test_the_architecture_is_that_of_the_runtimes_nodes(ssm: Ssm) -> None:
    ec2 = boto3.client("ec2", region_name=REGION)
    assert architecture(config("g5.xlarge, g5.2xlarge"), ec2) == "x86_64"
    assert architecture(config("g5g.xlarge"), ec2) == "arm64"
    with pytest.raises(ValueError, match="say ARCHITECTURE="):
        architecture(config("g5.xlarge, g5g.xlarge"), ec2)


def test_the_id_is_written_below_data_volume_alone() -> None:
    system = "nodeTemplate:\n  osVolume:\n    snapshotID: ''\n"
    data = "  dataVolume:\n    volumeSize: 100Gi\n    snapshotID: {} # images\n"
    assert written(system + data.format("''"), "snap-1") == system + data.format("snap-1")
    assert written(system, "snap-1") is None
