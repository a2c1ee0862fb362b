"""What has to be there before anything is made: tools, credentials, and in git what the cluster will read."""

import re
import shutil
import subprocess
from collections.abc import Iterator

from botocore.exceptions import BotoCoreError, ClientError

from bootstrap.eks.aws import Aws
from bootstrap.eks.step import StepError
from bootstrap.eks.target import Target, run
from generator import eksctl, tree
from generator.build import build

# The oldest version of each tool that knows what it is asked for, and what prints it.
TOOLS = {
    # useDefaultPodIdentityAssociations: https://github.com/eksctl-io/eksctl/pull/7807, of June 2024, after 0.180.
    "eksctl": ((0, 190), ("version",)),
    "kubectl": ((1, 30), ("version", "--client")),
    "helm": ((3, 14), ("version", "--short")),
    "git": ((2, 20), ("--version",)),
}
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html: vCPUs of running G and VT instances.
GPU_QUOTAS = {"on demand": "L-DB2E81BA", "spot": "L-3819A6DF"}
# The smallest instance with a GPU of this project's examples has as many.
FEWEST_VCPUS = 8


def problems(target: Target, aws: Aws) -> Iterator[str]:
    """Yield everything that keeps the cluster from being made, each with how to mend it."""
    yield from tools()
    yield from account(target, aws)
    yield from committed(target)


def tools() -> Iterator[str]:
    """Yield what is wrong with the command-line tools."""
    for name, (oldest, arguments) in TOOLS.items():
        wanted = ".".join(map(str, oldest))
        if not shutil.which(name):
            yield f"{name} is not on PATH: install {wanted} or newer"
            continue
        try:
            said = run(name, *arguments)
        except StepError as error:
            yield str(error)
            continue
        found = re.search(r"(\d+)\.(\d+)", said)
        if not found or (int(found[1]), int(found[2])) < oldest:
            yield f"{name} says {said.strip()[:80]!r}: install {wanted} or newer"
    # The kubeconfig gets its tokens from one of them.
    if not (shutil.which("aws") or shutil.which("aws-iam-authenticator")):
        yield "neither aws nor aws-iam-authenticator is on PATH: install one, kubectl gets its tokens from it"


def account(target: Target, aws: Aws) -> Iterator[str]:
    """Yield what is wrong with the credentials, and with what is to be in the account already."""
    cluster = target.config.cluster
    try:
        found = aws.account_id()
        if found != cluster.account_id:
            yield f"these are credentials of the account {found}, and config.yaml says {cluster.account_id}"
            return
        if cluster.existing:
            yield from existing(target, aws)
        bucket = target.config.model_bucket
        if bucket and not aws.has_bucket(bucket):
            yield f"the model bucket {bucket} is not there, or these credentials may not see it: make it first"
    except (BotoCoreError, ClientError) as error:
        yield f"AWS cannot be asked in {cluster.region}: {error}"


def existing(target: Target, aws: Aws) -> Iterator[str]:
    """Yield what an existing cluster lacks."""
    found, name = aws.cluster(), target.config.cluster_name
    if not found:
        yield f"there is no EKS cluster {name} in {aws.region}: remove `cluster.existing`, or mend `cluster.name`"
        return
    mode = found.get("accessConfig", {}).get("authenticationMode", "CONFIG_MAP")
    if mode == "CONFIG_MAP":
        command = f"aws eks update-cluster-config --name {name} --access-config authenticationMode=API_AND_CONFIG_MAP"
        yield f"the cluster knows no access entries, by which nodes join: `{command}`"
    if eksctl.POD_IDENTITY_AGENT not in aws.eks_add_ons():
        command = f"aws eks create-addon --cluster-name {name} --addon-name {eksctl.POD_IDENTITY_AGENT}"
        yield f"the cluster has no Pod Identity agent, by which pods get their roles: `{command}`"


def committed(target: Target) -> Iterator[str]:
    """Yield how what the cluster would read differs from what is here."""
    where = target.config.cluster.repository
    folders = [f"clusters/{target.cluster}", "apps", "runtimes/chart"]
    git = ("-C", str(target.repository))
    folder = f"clusters/{target.cluster}"
    wanted = build(target.config, folder, f"{folder}/config.yaml")
    if tree.changes(target.repository, wanted, tree.rendered_files(target.repository / folder)):
        yield f"what is rendered is not what {folder}/config.yaml says: run `{tree.COMMAND}`, and commit it"
    if run("git", *git, "status", "--porcelain", "--", *folders).strip():
        yield f"there are changes that are not committed below {', '.join(folders)}: commit and push them"
    try:
        said = run("git", *git, "ls-remote", where.url, where.revision)
    except StepError as error:
        yield f"the repository that the cluster will read cannot be reached from here: {error}"
        return
    commit = said.split()[0] if said.strip() else where.revision
    same = subprocess.run(
        ["git", *git, "diff", "--quiet", commit, "HEAD", "--", *folders], capture_output=True, check=False
    )
    if same.returncode == 1:
        yield f"{where.revision} of {where.url} is not what is here: push, or pull"
    elif same.returncode:
        yield f"{where.revision} of {where.url} is not known here: fetch it, or mend `cluster.repository`"


def warnings(target: Target, aws: Aws) -> Iterator[str]:
    """Yield what may keep runtimes waiting later."""
    if not target.config.runtimes:
        return
    for how, code in GPU_QUOTAS.items():
        try:
            asked = {"ServiceCode": "ec2", "QuotaCode": code}
            vcpus = aws.client("service-quotas").get_service_quota(**asked)["Quota"]["Value"]
        except (BotoCoreError, ClientError):
            yield f"the quota of G and VT instances {how} could not be asked for: look at {code} in Service Quotas"
            continue
        if vcpus < FEWEST_VCPUS:
            yield f"the account may run {vcpus:g} vCPUs of G and VT instances {how}: ask for more of {code}"
