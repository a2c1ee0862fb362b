"""A snapshot of Bottlerocket's data volume with images in it, so that a new node need not pull them.

An instance is launched, pulls the images, and is stopped; its data volume becomes the snapshot. Whatever is made for
that bears the tag `darkroom-snapshot`, and goes at the end and on an interruption. The role, which one run alone can
make, keeps a second one out.
"""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

TAG = "darkroom-snapshot"
DATA_DEVICE = "/dev/xvdb"
INSTANCE_TYPES = {"x86_64": "m7i.large", "arm64": "m7g.large"}
# Bottlerocket's admin container reaches containerd; it is off unless asked for.
USER_DATA = "[settings.host-containers.admin]\nenabled = true\n"
POLICIES = ("AmazonSSMManagedInstanceCore", "AmazonEC2ContainerRegistryReadOnly")
# What Bottlerocket's own kubelet.service pulls by. It takes ECR's credentials from the instance's role, so that none
# are in a command, and the image of the instance's architecture; other registries are asked without credentials.
PULL = (
    "apiclient exec admin sheltie host-ctr --containerd-socket=/run/containerd/containerd.sock --namespace=k8s.io "
    "pull-image --registry-config=/etc/host-containers/host-ctr.toml --label=io.cri-containerd.image=managed --source="
)
ENDED = ("Success", "Failed", "TimedOut", "Cancelled")


class SnapshotError(Exception):
    """No snapshot was made; the text says why, and how to mend it."""


@dataclass(frozen=True)
class Request:
    """What is to be in the snapshot, and where it is made.

    Attributes:
        name: The stack's name; what is made is called by it.
        kubernetes: Version of Kubernetes, such as `1.35`.
        subnet_id: A subnet with a way to the registry and to Systems Manager.
    """

    name: str
    partition: str
    kubernetes: str
    images: tuple[str, ...]
    subnet_id: str
    size_gib: int = 100
    architecture: str = "x86_64"
    tags: dict[str, str] = field(default_factory=dict)


class Snapshot:
    """Makes one.

    Args:
        client: Gives the boto3 client of a service.
        poll_s: How long to wait before looking again.
        patience_s: How long to wait for one step.
    """

    def __init__(
        self,
        client: Callable[[str], Any],
        request: Request,
        say: Callable[[str], None],
        poll_s: float = 5,
        patience_s: float = 3600,
    ) -> None:
        self._ec2, self._ssm, self._iam = map(client, ("ec2", "ssm", "iam"))
        self._request = request
        self._say = say
        self._poll_s = poll_s
        self._patience_s = patience_s
        self._role = f"{request.name}-snapshot"

    def make(self, replace: bool = False) -> str:
        """Return the id of the finished snapshot.

        Args:
            replace: Whether to clear away what another run has, which was killed.

        Raises:
            SnapshotError: Another run is on, an image cannot be pulled, or a step took too long.
            BotoCoreError, ClientError: AWS refused.
        """
        if replace:
            self._clean()
        self._lock()
        with self._cleaned_up():
            instance_id = self._launched()
            self._say(f"{instance_id} starts")
            self._wait(lambda: self._is_managed(instance_id), f"{instance_id} to answer Systems Manager")
            for image in self._request.images:
                self._say(f"pulls {image}")
                self._pull(instance_id, image)
            self._ec2.stop_instances(InstanceIds=[instance_id])
            self._wait(lambda: self._state(instance_id) == "stopped", f"{instance_id} to stop")
            return self._taken(instance_id)

    @contextmanager
    def _cleaned_up(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._clean()

    def _clean(self) -> None:
        mine = [{"Name": f"tag:{TAG}", "Values": [self._request.name]}]
        live = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
        found = self._ec2.describe_instances(Filters=[*mine, live])["Reservations"]
        if ids := [instance["InstanceId"] for group in found for instance in group["Instances"]]:
            self._say(f"terminates {', '.join(ids)}")
            self._ec2.terminate_instances(InstanceIds=ids)
        # One that was not finished holds half the images; a finished one is marked so, and stays.
        for made in self._ec2.describe_snapshots(OwnerIds=["self"], Filters=mine)["Snapshots"]:
            if {"Key": "darkroom-finished", "Value": "true"} not in made.get("Tags", []):
                self._say(f"deletes the unfinished {made['SnapshotId']}")
                self._ec2.delete_snapshot(SnapshotId=made["SnapshotId"])
        self._remove_role()

    def _launched(self) -> str:
        request = self._request
        self._make_profile()
        parameter = f"/aws/service/bottlerocket/aws-k8s-{request.kubernetes}/{request.architecture}/latest/image_id"
        image_id = self._ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
        volume = {"VolumeSize": request.size_gib, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        tags = self._tags()
        launch = {
            "ImageId": image_id,
            "InstanceType": INSTANCE_TYPES[request.architecture],
            "MinCount": 1,
            "MaxCount": 1,
            "SubnetId": request.subnet_id,
            "IamInstanceProfile": {"Name": self._role},
            "MetadataOptions": {"HttpTokens": "required"},
            "UserData": USER_DATA,
            "BlockDeviceMappings": [{"DeviceName": DATA_DEVICE, "Ebs": volume}],
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        }
        instance_ids: list[str] = []

        def launched() -> bool:
            try:
                instances = self._ec2.run_instances(**launch)["Instances"]
            except ClientError as error:
                # IAM tells EC2 of a new profile after some seconds.
                if error.response["Error"]["Code"] != "InvalidParameterValue":
                    raise
                return False
            instance_ids.append(instances[0]["InstanceId"])
            return True

        self._wait(launched, f"the instance profile {self._role}")
        return instance_ids[0]

    def _is_managed(self, instance_id: str) -> bool:
        mine = [{"Key": "InstanceIds", "Values": [instance_id]}]
        found = self._ssm.describe_instance_information(Filters=mine)["InstanceInformationList"]
        return any(one.get("PingStatus") == "Online" for one in found)

    def _pull(self, instance_id: str, image: str) -> None:
        sent = self._ssm.send_command(
            InstanceIds=[instance_id],
            DocumentName="AWS-RunShellScript",
            Parameters={
                "commands": [PULL + shlex.quote(image)],
                "executionTimeout": [str(int(self._patience_s))],
            },
        )
        command = {"CommandId": sent["Command"]["CommandId"], "InstanceId": instance_id}
        answer: dict[str, Any] = {}

        def ended() -> bool:
            try:
                answer.update(self._ssm.get_command_invocation(**command))
            except self._ssm.exceptions.InvocationDoesNotExist:
                return False  # not yet
            return answer["Status"] in ENDED

        self._wait(ended, f"{image} to be pulled")
        if answer["Status"] != "Success":
            said = answer.get("StandardErrorContent", "").strip()[-500:]
            raise SnapshotError(f"{image} could not be pulled ({answer['Status']}): {said}; is its name right?")

    def _state(self, instance_id: str) -> str:
        found = self._ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return str(found[0]["Instances"][0]["State"]["Name"])

    def _taken(self, instance_id: str) -> str:
        instance = self._ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
        volumes = {device["DeviceName"]: device["Ebs"]["VolumeId"] for device in instance["BlockDeviceMappings"]}
        tags = [{"ResourceType": "snapshot", "Tags": self._tags()}]
        told = ", ".join(self._request.images)[:255]
        made = self._ec2.create_snapshot(VolumeId=volumes[DATA_DEVICE], Description=told, TagSpecifications=tags)
        snapshot_id = str(made["SnapshotId"])
        self._say(f"{snapshot_id} is made")

        def finished() -> bool:
            state = self._ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["State"]
            if state == "error":
                raise SnapshotError(f"{snapshot_id} ended in an error of EBS: run the same command again")
            return bool(state == "completed")

        self._wait(finished, f"{snapshot_id} to be finished")
        self._ec2.create_tags(Resources=[snapshot_id], Tags=[{"Key": "darkroom-finished", "Value": "true"}])
        return snapshot_id

    def _tags(self) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in {**self._request.tags, TAG: self._request.name}.items()]

    def _lock(self) -> None:
        """Make the role, which can be there once."""
        service = "ec2.amazonaws.com.cn" if self._request.partition == "aws-cn" else "ec2.amazonaws.com"
        trust = (
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",'
            f'"Principal":{{"Service":"{service}"}}}}]}}'
        )
        try:
            self._iam.create_role(RoleName=self._role, AssumeRolePolicyDocument=trust, Tags=self._tags())
        except self._iam.exceptions.EntityAlreadyExistsException as error:
            raise SnapshotError(
                f"the role {self._role} is there, so another run makes a snapshot, or was killed: wait for it, or "
                "clear away what it has with REPLACE=1"
            ) from error

    def _make_profile(self) -> None:
        for policy in POLICIES:
            self._iam.attach_role_policy(RoleName=self._role, PolicyArn=self._policy(policy))
        self._iam.create_instance_profile(InstanceProfileName=self._role, Tags=self._tags())
        self._iam.add_role_to_instance_profile(InstanceProfileName=self._role, RoleName=self._role)

    def _remove_role(self) -> None:
        profile, role = {"InstanceProfileName": self._role}, {"RoleName": self._role}
        removals: list[tuple[Callable[..., Any], dict[str, str]]] = [
            (self._iam.remove_role_from_instance_profile, profile | role),
            (self._iam.delete_instance_profile, profile),
            *((self._iam.detach_role_policy, role | {"PolicyArn": self._policy(policy)}) for policy in POLICIES),
            (self._iam.delete_role, role),
        ]
        for remove, what in removals:
            with suppress(self._iam.exceptions.NoSuchEntityException):
                remove(**what)

    def _policy(self, name: str) -> str:
        return f"arn:{self._request.partition}:iam::aws:policy/{name}"

    def _wait(self, until: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience_s
        while not until():
            if time.monotonic() > deadline:
                raise SnapshotError(f"waited too long for {what}: run the same command again")
            time.sleep(self._poll_s)
