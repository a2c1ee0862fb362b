"""What is left in AWS when a cluster is gone, and what of it is billed."""

from collections.abc import Iterator

from botocore.exceptions import ClientError

from bootstrap.eks.aws import Aws
from bootstrap.eks.down import output_bucket
from bootstrap.eks.target import Target


def leftovers(target: Target, aws: Aws) -> Iterator[str]:
    """Yield what is left, with how it is billed and what removes it."""
    bucket = output_bucket(target)
    if aws.has_bucket(bucket):
        yield f"bucket {bucket}: pictures and jobs, billed by the gigabyte and month (`--delete-pictures` removes it)"
    if (models := target.config.model_bucket) and aws.has_bucket(models):
        yield f"bucket {models}: models, billed by the gigabyte and month (it was there before, and is never removed)"
    stack, cluster = target.config.stack_name, target.config.cluster_name
    logs = aws.client("logs")
    for prefix in (f"/aws/eks/{cluster}/", f"/aws/containerinsights/{cluster}/", f"/aws/lambda/{stack}-"):
        for group in logs.describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]:
            name = group["logGroupName"]
            yield f"logs {name}: billed by the gigabyte and month (`aws logs delete-log-group --log-group-name {name}`)"
    yield from _instances(aws)
    for image in ("agent", "api", "sdwebui", "comfyui"):
        repository = f"darkroom/{image}"
        try:
            aws.client("ecr").describe_repositories(repositoryNames=[repository])
        except ClientError:
            continue
        yield f"images {repository}: billed by the gigabyte and month, and shared by all clusters of the account"


def _instances(aws: Aws) -> Iterator[str]:
    ec2 = aws.client("ec2")
    owned = {"Name": f"tag:kubernetes.io/cluster/{aws.cluster_name}", "Values": ["owned"]}
    running = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    for reservation in ec2.describe_instances(Filters=[owned, running])["Reservations"]:
        for instance in reservation["Instances"]:
            name = instance["InstanceId"]
            yield f"instance {name}: BILLED BY THE SECOND (`aws ec2 terminate-instances --instance-ids {name}`)"
    for volume in ec2.describe_volumes(Filters=[owned])["Volumes"]:
        name = volume["VolumeId"]
        yield f"volume {name}: billed by the gigabyte and month (`aws ec2 delete-volume --volume-id {name}`)"
