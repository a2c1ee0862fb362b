import pytest

from apps.crossplane.apis.inferenceapi.names import bucket_name
from apps.crossplane.apis.inferenceruntime.names import (
    config_map_name,
    dead_letter_queue_name,
    queue_name,
    service_account_name,
)
from apps.crossplane.aws.owner import Owner, domain, partition
from generator import names
from generator.load import ConfigError, load
from tests.generator.cases import CLUSTER

LONGEST_STACK = "s" * 24
# As long as the names of AWS's regions get.
LONGEST_REGION = "ap-southeast-1"


@pytest.mark.parametrize("stack", ["sdoneks", LONGEST_STACK])
def test_the_longest_name_that_is_allowed_fits_everything_that_is_made_from_it(stack: str) -> None:
    room = min(form.room(stack) for form in names.OF_A_RUNTIME)
    assert {len(form.name(stack, "r" * room)) <= form.limit for form in names.OF_A_RUNTIME} == {True}

    def config(length: int) -> str:
        return f"stackName: {stack}\nmodelsRuntime: [{{name: {'r' * length}, modelFilename: a}}]\n{CLUSTER}"

    load(config(room), "config.yaml")
    with pytest.raises(ConfigError, match=f"{room} at most"):
        load(config(room + 1), "config.yaml")


def test_names_are_those_that_the_composition_makes() -> None:
    assert queue_name("sdoneks", "sdruntime") == names.QUEUE.name("sdoneks", "sdruntime")
    assert dead_letter_queue_name("sdoneks", "sdruntime") == names.DEAD_LETTER_QUEUE.name("sdoneks", "sdruntime")
    assert config_map_name("sdruntime") == names.CONFIG_MAP.name("sdoneks", "sdruntime")
    assert service_account_name("sdruntime") == names.SERVICE_ACCOUNT.name("sdoneks", "sdruntime")
    made = Owner("sdruntime", "default", "us-west-2", "1" * 12, {}).managed("sqs", "Queue", "dead-letter-queue", {})
    assert made["metadata"]["name"] == names.MANAGED_RESOURCE.name("sdoneks", "sdruntime")


def test_no_name_of_a_runtime_makes_its_queues_those_of_another() -> None:
    stacks, runtimes = ("s", "s-b"), ("a", "b-a", "a-dead-letter", "a-queue", "a-dead-letter-queue")
    made = [
        form.name(stack, runtime)
        for form in (names.QUEUE, names.DEAD_LETTER_QUEUE)
        for stack in stacks
        for runtime in runtimes
    ]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("region", ["us-west-2", "cn-northwest-1", "us-gov-west-1", "eusc-de-east-1", "ap-southeast-5"])
def test_the_partition_is_the_one_that_the_composition_takes(region: str) -> None:
    cluster = load(f"modelsRuntime: []\n{CLUSTER.replace('us-west-2', region)}", "config.yaml").config.cluster
    assert cluster.partition == partition(region)
    assert cluster.image_registry.startswith(f"123456789012.dkr.ecr.{region}.{domain(region)}/")


def test_the_longest_stack_fits_the_names_of_its_buckets() -> None:
    assert len(LONGEST_STACK) == names.INFERENCE_API.limit
    owner = Owner(LONGEST_STACK, "darkroom", LONGEST_REGION, "1" * 12, {})
    assert len(bucket_name(owner, "outputs")) <= 63
