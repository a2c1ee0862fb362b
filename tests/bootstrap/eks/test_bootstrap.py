"""From an AWS account to a cluster that git owns, and back. AWS is the emulator; the programs are stand-ins."""

from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from bootstrap.eks import prerequisites
from bootstrap.eks.credentials import repository_secret
from bootstrap.eks.down import Teardown
from bootstrap.eks.step import Step, StepError, run
from tests.bootstrap.eks.conftest import World, resources
from tests.conftest import commit

CHANGES = ("eksctl create", "eksctl delete", "helm upgrade", "helm uninstall", "kubectl --kubeconfig")


def changes(world: World) -> list[str]:
    """Return the calls of programs that change something."""
    return [call for call in world.calls(*CHANGES) if " get " not in call]


def interrupted_after_each(steps: Callable[[], list[Step]]) -> int:
    """Do each step by a run of its own, which ends before it has looked again, and return how many there were."""
    done = 0
    for index in range(len(steps())):
        step = steps()[index]
        if not step.done():
            step.do()
            done += 1
    return done


def test_a_cluster_is_made_and_handed_over_to_git_and_a_second_run_changes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.up() == 0
    said = capsys.readouterr().out
    assert "The job API: https://api.example.com/prod" in said
    eks = boto3.client("eks")
    found = eks.list_pod_identity_associations(clusterName=world.stack)["associations"]
    assert {("karpenter", "karpenter"), ("keda", "keda-operator")} <= {
        (item["namespace"], item["serviceAccount"]) for item in found
    }
    node_role = boto3.client("iam").get_role(RoleName=f"{world.stack}-karpenter-node")["Role"]["Arn"]
    assert node_role in eks.list_access_entries(clusterName=world.stack)["accessEntries"]
    network = world.bootstrap().network
    assert network.tagged
    assert len(network.subnets) == 2  # the private ones
    endpoints = boto3.client("ec2").describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [network.vpc]}])
    assert [item["ServiceName"] for item in endpoints["VpcEndpoints"]] == ["com.amazonaws.us-east-1.s3"]
    assert {item["metadata"]["name"] for item in world.objects("AppProject")} == {"darkroom", "platform"}
    world.forget_calls()
    assert world.up("--yes") == 0
    assert changes(world) == []
    assert "now: " not in capsys.readouterr().out


def test_wherever_it_is_interrupted_the_same_command_goes_on(world: World) -> None:
    done = interrupted_after_each(lambda: world.bootstrap().steps())
    assert done > 5
    world.forget_calls()
    assert world.up() == 0
    assert changes(world) == []


def test_programs_that_die_halfway_are_made_up_for(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for point in ("cluster-without-nodes", "nodes-without-add-ons", "argocd-half-installed"):
        world.dies(point)
        assert world.up() == 1
        assert "The same command goes on from here." in capsys.readouterr().err
    assert world.up() == 0
    eks = boto3.client("eks")
    assert eks.list_nodegroups(clusterName=world.stack)["nodegroups"] == ["system"]
    assert len(eks.list_addons(clusterName=world.stack)["addons"]) == 4


def test_a_dry_run_shows_the_steps_and_changes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.up("--dry-run") == 0
    assert f"would make the EKS cluster {world.stack}" in capsys.readouterr().out
    assert changes(world) == []
    assert resources(world.stack) == set()


def test_nothing_is_done_when_people_say_no(world: World) -> None:
    assert world.up(answer="") == 3
    assert changes(world) == []


def test_what_is_not_committed_or_not_pushed_is_told_first(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.repository / "clusters" / "test" / "rendered" / "applications" / "root.yaml"
    file.write_text(f"{file.read_text()}# changed\n")
    assert world.up() == 2
    assert "not committed below clusters/test" in capsys.readouterr().err
    commit(world.repository, "not pushed")
    assert world.up() == 2
    assert "is not what is here: push, or pull" in capsys.readouterr().err
    assert changes(world) == []


def test_credentials_of_another_account_are_told_first(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.configure(accountId="123456789012")
    assert world.up() == 2
    assert "and config.yaml says 123456789012" in capsys.readouterr().err
    assert world.down() == 2


def test_a_tool_that_is_missing_or_too_old_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(prerequisites.TOOLS, "helm", ((9, 0), ("version", "--short")))
    monkeypatch.setitem(prerequisites.TOOLS, "no-such-tool", ((1, 2), ()))
    assert world.up() == 2
    said = capsys.readouterr().err
    assert "helm says 'v3.22.0': install 9.0 or newer" in said
    assert "no-such-tool is not on PATH: install 1.2 or newer" in said


def test_credentials_of_a_private_repository_go_into_a_secret_and_are_shown_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_PASSWORD", "a-secret-of-git")
    world.bootstrap().connect()
    told: list[str] = []
    wanted = [step for step in world.bootstrap().steps() if "credentials" in step.what]
    run(wanted, told.append)
    [secret] = world.objects("Secret")
    assert secret["metadata"]["labels"] == {"argocd.argoproj.io/secret-type": "repository"}
    assert set(secret["data"]) == {"type", "url", "username", "password"}
    assert wanted[0].done()
    assert "a-secret-of-git" not in "".join([*told, *world.calls("")])


def test_a_key_of_ssh_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"GIT_SSH_KEY_FILE: .*no-such-key cannot be read"):
        repository_secret("git@git.example.com:darkroom.git", {"GIT_SSH_KEY_FILE": str(tmp_path / "no-such-key")})


def test_an_account_that_may_run_no_gpu_is_warned_of(world: World) -> None:
    made = world.bootstrap()
    answers = Stubber(made.aws.client("service-quotas"))
    for vcpus in (0, 64):
        answers.add_response("get_service_quota", {"Quota": {"Value": vcpus}})
    with answers:
        [warning] = prerequisites.warnings(made.target, made.aws)
    assert warning == "the account may run 0 vCPUs of G and VT instances on demand: ask for more of L-DB2E81BA"


def test_an_existing_cluster_is_added_to_and_stays(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.up() == 0
    world.configure(existing=True)
    world.forget_calls()
    assert world.up() == 0
    assert world.calls("eksctl create") == []
    assert world.down("--yes") == 0
    assert resources(world.stack) == {f"cluster {world.stack}"}
    assert not world.bootstrap().network.tagged
    assert world.calls("eksctl delete") == []


def test_an_existing_cluster_that_is_not_there_is_told_first(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.configure(existing=True)
    assert world.up() == 2
    assert f"there is no EKS cluster {world.stack}" in capsys.readouterr().err


def test_teardown_changes_nothing_in_a_dry_run_then_leaves_nothing_and_takes_claims_before_nodes_before_crossplane(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.up() == 0
    before = resources(world.stack)
    world.forget_calls()
    assert world.down("--dry-run") == 0
    assert "would stop following git" in capsys.readouterr().out
    assert changes(world) == []
    assert resources(world.stack) == before
    assert world.down() == 0
    said = capsys.readouterr().out
    assert "Pictures and jobs stay" in said
    assert resources(world.stack) == set()
    deleted = [call.split()[5] for call in world.calls("kubectl") if " delete applications" in call]
    assert deleted[0] == "root"
    wanted = ["sdruntime", "claims", "karpenter", "crossplane-apis", "crossplane-packages", "crossplane"]
    assert [name for name in deleted if name in wanted] == wanted
    assert world.objects("NodeClaim") == []


def test_a_rendered_file_that_is_not_what_the_configuration_says_is_told_first(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.repository / "clusters" / "test" / "rendered" / "left-over.yaml").write_text("{}\n")
    commit(world.repository, "not rendered")
    assert world.up() == 2
    assert "run `make render`, and commit it" in capsys.readouterr().err


def test_nodes_of_others_in_an_existing_cluster_stay(world: World) -> None:
    assert world.up() == 0
    world.configure(existing=True)
    world.add_object({"kind": "NodePool", "metadata": {"name": "theirs"}})
    world.add_object({"kind": "NodeClaim", "metadata": {"name": "x", "labels": {"karpenter.sh/nodepool": "theirs"}}})
    run(Teardown(world.bootstrap()).steps()[:4], lambda _: None)
    assert [item["metadata"]["name"] for item in world.objects("NodePool")] == ["theirs"]
    assert [item["metadata"]["name"] for item in world.objects("NodeClaim")] == ["x"]


def test_teardown_goes_on_wherever_it_was_interrupted_and_twice_is_once(world: World) -> None:
    assert world.up() == 0
    done = interrupted_after_each(lambda: Teardown(world.bootstrap()).steps())
    assert done > 5
    assert resources(world.stack) == set()
    world.forget_calls()
    assert world.down("--yes") == 0
    assert changes(world) == []


def test_pictures_are_kept_and_named_unless_people_say_otherwise(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    s3, bucket = boto3.client("s3"), f"{world.stack}-outputs-000000000000-us-east-1"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="output/1.png", Body=b"a picture")
    assert world.down() == 0
    assert f"bucket {bucket}: pictures and jobs, billed" in capsys.readouterr().out
    assert world.down("--delete-pictures") == 0
    assert bucket not in {item["Name"] for item in s3.list_buckets()["Buckets"]}


def test_a_step_that_is_not_so_after_it_was_done_is_an_error() -> None:
    with pytest.raises(StepError, match="make it: nothing failed, but it is not so"):
        run([Step("make it", lambda: False, lambda: None)], lambda _: None)
