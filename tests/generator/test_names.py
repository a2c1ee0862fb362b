import importlib.util
from types import ModuleType

import pytest

from generator import names
from generator.load import ConfigError, load
from tests.generator.cases import CLUSTER, ROOT

LONGEST_STACK = "s" * 24
# As long as the names of AWS's regions get.
LONGEST_REGION = "ap-southeast-1"


def compose_of(api: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(api, ROOT / "apps" / "crossplane" / "apis" / api / "compose.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    compose = compose_of("inferenceruntime")
    runtime = {
        "metadata": {"name": "sdruntime", "namespace": "default"},
        "spec": {"apiRef": {"name": "sdoneks", "namespace": names.PLATFORM_NAMESPACE}},
    }
    made = compose.managed(runtime, {"region": "us-west-2"}, ("sqs", "Queue", "dead-letter-queue"), {})
    assert made["metadata"]["name"] == names.MANAGED_RESOURCE.name("sdoneks", "sdruntime")
    queue = compose.managed(runtime, {"region": "us-west-2"}, ("sqs", "Queue", "queue"), {})
    assert queue["metadata"]["name"] == "sdruntime.queue"
    assert compose.queue_name(runtime) == names.QUEUE.name("sdoneks", "sdruntime")
    assert compose.queue_name(runtime, "_dead-letter") == names.DEAD_LETTER_QUEUE.name("sdoneks", "sdruntime")
    assert compose.config_map_name(runtime) == names.CONFIG_MAP.name("sdoneks", "sdruntime")


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
    compose = compose_of("inferenceapi")
    cluster = load(f"modelsRuntime: []\n{CLUSTER.replace('us-west-2', region)}", "config.yaml").config.cluster
    assert cluster.partition == compose.partition({"spec": {"region": region}})


def test_the_longest_stack_fits_the_names_of_its_buckets() -> None:
    compose = compose_of("inferenceapi")
    api = {"metadata": {"name": LONGEST_STACK}, "spec": {"accountId": "1" * 12, "region": LONGEST_REGION}}
    assert len(LONGEST_STACK) == names.INFERENCE_API.limit
    assert len(compose.bucket_name(api, "outputs")) <= 63
