"""`python -m operations`: models, snapshots and failed jobs of a running service.

Exit status: 0 when all is done, 1 when something failed or is missing, 2 when the question makes no sense, 3 when
people said no.
"""

import argparse
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as Options
from botocore.exceptions import BotoCoreError, ClientError
from kubernetes.utils.quantity import parse_quantity
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from generator import names
from generator.load import ConfigError, load
from generator.model import VERSION, Config, Runtime
from operations import models
from operations.dead_letters import DeadLetters
from operations.snapshot import INSTANCE_TYPES, Request, Snapshot, SnapshotError
from operations.upload import THREADS, UploadError, upload

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = Options(max_pool_connections=THREADS, retries={"mode": "adaptive", "max_attempts": 8})


def main(
    arguments: Sequence[str] | None = None,
    clusters: Path = ROOT / "clusters",
    ask: Callable[[str], str] = input,
) -> int:
    """Do what the arguments say, and return the exit status."""
    options = _parser().parse_args(arguments)
    options.ask = ask
    file = clusters / options.cluster / "config.yaml"
    if not options.cluster or not file.is_file():
        return _complain(2, f"CLUSTER: there is no {file}: name one, such as CLUSTER=production")
    # SIGTERM cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        config = load(file.read_text(), str(file)).config
        done: int = options.do(options, config, file)
    except ConfigError as error:
        return _complain(2, *error.messages)
    except ValueError as error:
        return _complain(2, str(error))
    except KeyboardInterrupt:
        return _complain(130, "interrupted: run the same command again")
    except (UploadError, SnapshotError, BotoCoreError, ClientError, OSError) as error:
        return _complain(1, str(error))
    return done


def _models(_options: argparse.Namespace, config: Config, _file: Path) -> int:
    found = models.listed(_client(config, "s3"), _model_bucket(config))
    for key, size in found.items():
        print(f"{size / 1024**2:10.1f} MiB  {key}")
    lines = list(models.report(config, found))
    for _, line in lines:
        print(line)
    return 0 if all(well for well, _ in lines) else 1


def _upload(options: argparse.Namespace, config: Config, _file: Path) -> int:
    model = Path(options.file)
    if wrong := models.problem(config, options.kind, model.name):
        raise ValueError(wrong)
    key, bucket = f"{options.kind}/{model.name}", _model_bucket(config)
    columns = TextColumn(model.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task(key, total=model.stat().st_size)
        new = upload(_client(config, "s3"), model, bucket, key, lambda count: progress.advance(task, count))
    print(f"s3://{bucket}/{key} {'is there' if new else 'was there already'}")
    return 0


def _redrive(options: argparse.Namespace, config: Config, _file: Path) -> int:
    known = sorted(runtime.name for runtime in config.runtimes.values())
    if options.runtime not in known:
        raise ValueError(f"RUNTIME: {options.runtime!r} is none of this cluster's: {', '.join(known)}")
    if options.action == "purge" and not options.yes:
        answer = options.ask(f"Delete the dead letters of {options.runtime}? They cannot be given back then. [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return _complain(3, "Nothing was done.")
    sqs = _client(config, "sqs")
    queues = [form.name(config.stack_name, options.runtime) for form in (names.QUEUE, names.DEAD_LETTER_QUEUE)]
    queue_url, dead_letters_url = (sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in queues)
    bucket = f"{config.stack_name}-outputs-{config.cluster.account_id}-{config.cluster.region}"
    letters = DeadLetters(
        sqs,
        _client(config, "s3"),
        runtime=options.runtime,
        queue_url=queue_url,
        dead_letters_url=dead_letters_url,
        bucket=bucket,
    )
    actions = {"list": letters.look, "redrive": letters.redrive, "purge": letters.purge}
    count = 0
    for count, letter in enumerate(actions[options.action](), start=1):  # noqa: B007 - printed below
        print(f"{letter.key or '(no job)'}  {letter.status}  {letter.reason}")
    done = {"list": "dead letters", "redrive": "looked after", "purge": "deleted"}[options.action]
    print(f"{count} {done}")
    return 0


def _snapshot(options: argparse.Namespace, config: Config, file: Path) -> int:
    wanted = options.image or images(config)
    if options.write and written(file.read_text(), "") is None:
        raise ValueError(f"{file} has no `snapshotID:` that could be written: add `snapshotID: ''` below `dataVolume`")
    ec2 = _client(config, "ec2")
    subnets = ec2.describe_subnets(Filters=[{"Name": f"tag:{names.DISCOVERY_TAG}", "Values": [config.cluster_name]}])[
        "Subnets"
    ]
    if not subnets:
        raise ValueError(
            f"no subnet has the tag {names.DISCOVERY_TAG}={config.cluster_name}: run `make bootstrap` first"
        )
    request = Request(
        config.stack_name,
        config.cluster.partition,
        config.cluster.eks.version,
        tuple(wanted),
        subnets[0]["SubnetId"],
        options.size or min(_gibibytes(runtime) for runtime in config.runtimes.values()),
        options.architecture or architecture(config, ec2),
        dict(config.cluster.tags),
    )
    made = Snapshot(lambda service: _client(config, service), request, print).make(options.replace)
    if options.write and (text := written(file.read_text(), made)):
        file.write_text(text)
        print(f"{file} names {made}: run `make render`, and commit")
    else:
        print(f"{made}: name it in config.yaml, at extraValues.karpenter.nodeTemplate.dataVolume.snapshotID")
    return 0


def written(text: str, snapshot_id: str) -> str | None:
    """Return the text of a config.yaml with the id in each `snapshotID:` below `dataVolume:`; None if there is none."""
    found, count = re.subn(
        r"(?m)^( *)dataVolume:(.*\n(?:\1 +.*\n)*?\1 +snapshotID:)[^#\n]*?( *#.*)?$",
        rf"\1dataVolume:\2 {snapshot_id}\3",
        text,
    )
    return found if count else None


def images(config: Config) -> list[str]:
    """Return the images of every runtime's server and agent, as runtimes/chart writes them."""
    found = set()
    for runtime in config.runtimes.values():
        pods = runtime.extra_values.pods
        for own, image in ((runtime.type, pods.inference_api.image), ("agent", pods.queue_agent.image)):
            repository = image.repository or f"{config.cluster.image_registry}/{own}"
            tag = image.tag or VERSION
            has_tag = re.search("[:@][^/]*$", repository)
            found.add(repository if has_tag else f"{repository}{'@' if tag.startswith('sha256:') else ':'}{tag}")
    if not found:
        raise ValueError("modelsRuntime is empty: name images with IMAGES=…")
    return sorted(found)


def architecture(config: Config, ec2: Any) -> str:
    """Return what the instance types of the runtimes' nodes can run."""
    types = {
        name
        for runtime in config.runtimes.values()
        for name in runtime.extra_values.karpenter.provisioner.instance_type
    }
    described = ec2.describe_instance_types(InstanceTypes=sorted(types))["InstanceTypes"]
    found: set[str] = {
        name for one in described for name in one["ProcessorInfo"]["SupportedArchitectures"] if name in INSTANCE_TYPES
    }
    if len(found) != 1:
        raise ValueError("some runtimes' instance types are arm64 and some x86_64: say ARCHITECTURE=… and its IMAGES=…")
    return found.pop()


def _gibibytes(runtime: Runtime) -> int:
    size = runtime.extra_values.karpenter.node_template.data_volume.volume_size
    return int(parse_quantity(size) / 1024**3)  # type: ignore[no-untyped-call]


def _client(config: Config, service: str) -> Any:
    return boto3.client(service, region_name=config.cluster.region, config=OPTIONS)  # type: ignore[call-overload]


def _model_bucket(config: Config) -> str:
    if not config.model_bucket:
        raise ValueError("modelBucketArn: there is none; runtimes have the models of their image")
    return config.model_bucket


def _complain(status: int, *texts: str) -> int:
    print(*texts, sep="\n", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m operations", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, do: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.add_argument("cluster", help="folder below clusters/")
        made.set_defaults(do=do)
        return made

    command("models", _models, "what each runtime can load, and what is missing")
    bring = command("upload-model", _upload, "bring a model to the bucket")
    bring.add_argument("file")
    bring.add_argument("--kind", default=models.CHECKPOINTS, help="folder in the bucket")
    failed = command("redrive", _redrive, "jobs that failed for good: list them, or give them back")
    failed.add_argument("runtime")
    failed.add_argument("--yes", action="store_true", help="do not ask before messages are deleted")
    failed.add_argument("--action", choices=("list", "redrive", "purge"), default="list")
    snapshot = command("snapshot", _snapshot, "make a snapshot with the runtimes' images in it")
    snapshot.add_argument("--image", action="append", help="in the place of the runtimes' images")
    snapshot.add_argument("--size", type=int, help="GiB; as large as the smallest data volume if not given")
    snapshot.add_argument("--architecture", choices=tuple(INSTANCE_TYPES), help="as the runtimes' nodes if not given")
    snapshot.add_argument("--replace", action="store_true", help="clear away what a run has that was killed")
    snapshot.add_argument("--write", action="store_true", help="write its id into config.yaml")
    return parser


if __name__ == "__main__":
    sys.exit(main())
