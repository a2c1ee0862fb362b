"""The embedded cluster: emulator, job API, and one agent with its inference server for each runtime of a commit."""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from bootstrap.local import emulator, git
from bootstrap.local.admission import Admission
from bootstrap.local.compositions import Compositions
from bootstrap.local.programs import Death, Ports, Program, Programs, answers
from bootstrap.local.provider import Provider
from bootstrap.local.reconciler import Reconciler

Manifest = dict[str, Any]

EMULATOR, API = "emulator", "api"
USUAL_PORTS = {EMULATOR: 4566, API: 8000, "webui": 8080, "agent": 9090}
# For somebody who watches, and where a request costs nothing: what a lost agent held is taken up soon, and an idle one
# stops at once.
IMPATIENCE = {"VISIBILITY_TIMEOUT_SECONDS": "15", "RECEIVE_WAIT_SECONDS": "1"}
RUNTIMES_REFRESH_SECONDS = 1


class UnusableClusterError(Exception):
    """A cluster that cannot run here; the text says why and what to do."""


@dataclass(frozen=True)
class Runtime:
    """What this machine needs to know of a runtime's Helm Application.

    Attributes:
        type: What its inference server speaks.
        model: The checkpoint it serves; None when it loads any.
    """

    name: str
    type: str
    model: str | None

    @classmethod
    def of(cls, application: Manifest) -> "Runtime":
        """Return the runtime that `application` deploys."""
        values = application["spec"]["source"]["helm"]["valuesObject"]["runtime"]
        return cls(
            name=application["metadata"]["name"],
            type=values["type"],
            model=values.get("inferenceApi", {}).get("modelFilename") or None,
        )

    @property
    def programs(self) -> tuple[str, str]:
        """The names of its programs: the inference server's and the agent's."""
        return f"{self.name}-webui", f"{self.name}-agent"


@dataclass(frozen=True)
class Change:
    """What a commit changed.

    Attributes:
        not_started: Why a runtime is not running here, by its name.
    """

    commit: str
    added: list[str]
    removed: list[str]
    not_started: dict[str, str]


class LocalCluster:
    """Runs what the commits of a repository ask for.

    Args:
        repository: The root of the git repository.
        cluster: The cluster's folder, relative to it.
        run: A folder for logs and pictures.
    """

    def __init__(self, repository: Path, cluster: str, run: Path) -> None:
        self._repository = repository
        self._cluster = cluster
        self._ports = Ports()
        self._programs = Programs(run / "logs")
        self._runtimes: dict[str, Runtime] = {}
        self._commit = ""
        self._run = run
        self.endpoints: dict[str, str] = {}

    def start(self) -> Change:
        """Start everything that the checked-out commit asks for; when this returns, all of it is ready.

        Raises:
            GitError, UnusableClusterError, InvalidClaimError, CompositionError, NotReadyError: What went wrong.
        """
        state = git.read(self._repository, git.head(self._repository), self._cluster)
        facts = _facts(state.claims)
        region = facts["region"]
        port = self._ports.take(USUAL_PORTS[EMULATOR])
        self.endpoints["AWS"] = f"http://127.0.0.1:{port}"
        self._environ = _passed_on() | emulator.client_environ(port, region)
        self._programs.start(
            Program(
                EMULATOR,
                emulator.command(self._repository / ".venv-emulator"),
                emulator.environ(port, facts["accountId"], region, self._run),
                partial(answers, f"{self.endpoints['AWS']}{emulator.HEALTH}"),
            )
        )
        apis = self._repository / "apps" / "crossplane" / "apis"
        session = boto3.Session(
            aws_access_key_id=self._environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self._environ["AWS_SECRET_ACCESS_KEY"],
            region_name=region,
        )
        provider = partial(Provider, session, self.endpoints["AWS"])
        self._reconciler = Reconciler(provider, Admission(apis), Compositions(apis))
        self._programs.wait_ready(EMULATOR)
        change = self._deploy(state)
        self._start_api()
        for name in (API, *(program for runtime in self._runtimes.values() for program in runtime.programs)):
            self._programs.wait_ready(name)
        return change

    def follow(self) -> Change | None:
        """Deploy the checked-out commit if it is another than before, and return what that changed."""
        commit = git.head(self._repository)
        if commit == self._commit:
            return None
        self._commit = commit  # A commit that fails is not tried again and again; the next one is.
        return self._deploy(git.read(self._repository, commit, self._cluster))

    def check(self) -> list[Death]:
        """Return the programs that died since the last call; they are started again.

        Raises:
            UnusableClusterError: The emulator died, and every queue and picture with it.
        """
        deaths = self._programs.check()
        for death in deaths:
            if death.name == EMULATOR:
                lines = "\n".join(f"  {line}" for line in death.last_lines)
                raise UnusableClusterError(f"the AWS emulator ended with code {death.code}:\n{lines}")
        return deaths

    def stop(self) -> None:
        """Stop everything: agents first, since they hand back what they hold."""
        programs = [runtime.programs for runtime in self._runtimes.values()]
        self._programs.stop(*(agent for _, agent in programs))
        self._programs.stop(API, *(server for server, _ in programs))
        self._programs.stop(EMULATOR)

    def kill(self) -> None:
        """End everything at once."""
        self._programs.kill()

    def _deploy(self, state: git.DesiredState) -> Change:
        wanted = {name: Runtime.of(application) for name, application in state.applications.items()}
        not_started = {
            name: f"its type is {runtime.type}, and only sdwebui runtimes have an inference server that runs here"
            for name, runtime in wanted.items()
            if runtime.type != "sdwebui"
        }
        running = {name: runtime for name, runtime in wanted.items() if name not in not_started}
        removed = [name for name, runtime in self._runtimes.items() if running.get(name) != runtime]
        added = [name for name, runtime in running.items() if self._runtimes.get(name) != runtime]
        for name in removed:
            server, agent = self._runtimes.pop(name).programs
            self._programs.stop(agent)
            self._programs.stop(server)
        self._reconciler.reconcile(state.claims)
        self._commit = state.commit
        for name in added:
            self._start_runtime(running[name])
            self._runtimes[name] = running[name]
        return Change(state.commit, added, removed, not_started)

    def _start_api(self) -> None:
        api = self._reconciler.status("InferenceAPI")
        port = self._ports.take(USUAL_PORTS[API])
        self.endpoints["API"] = f"http://127.0.0.1:{port}"
        environ = {
            "SNS_TOPIC_ARN": api["inputTopicArn"],
            "S3_OUTPUT_BUCKET": api["bucket"],
            "RUNTIMES_BUCKET": api["configBucket"],
            "RUNTIMES_REFRESH_SECONDS": str(RUNTIMES_REFRESH_SECONDS),
        }
        command = [sys.executable, "-m", "api", "--host", "127.0.0.1", "--port", str(port)]
        self._programs.start(self._program(API, command, environ, f"{self.endpoints['API']}/healthz"))

    def _start_runtime(self, runtime: Runtime) -> None:
        server, agent = runtime.programs
        port, health = self._ports.take(USUAL_PORTS["webui"]), self._ports.take(USUAL_PORTS["agent"])
        url = f"http://127.0.0.1:{port}"
        self.endpoints[f"{runtime.name}: web UI"] = f"{url}/sdapi/v1/"
        self.endpoints[f"{runtime.name}: agent"] = f"http://127.0.0.1:{health}/metrics"
        model = {"SD_MODEL_CHECKPOINT": runtime.model} if runtime.model else {}
        self._programs.start(
            self._program(
                server,
                [sys.executable, "-m", "webui.tiny", "--host", "127.0.0.1", "--port", str(port)],
                model,
                f"{url}/sdapi/v1/options",
            )
        )
        config = self._reconciler.config_map(f"{runtime.name}-inference")
        if config is None:
            raise UnusableClusterError(f"runtime {runtime.name} has no InferenceRuntime claim: run `make render`")
        environ = config | {
            "RUNTIME_TYPE": runtime.type,
            "API_BASE_URL": f"{url}/sdapi/v1/",
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": str(health),
            **IMPATIENCE,
            **(model or {"DYNAMIC_SD_MODEL": "true"}),
        }
        command = [sys.executable, "-m", "agent"]
        self._programs.start(self._program(agent, command, environ, f"http://127.0.0.1:{health}/readyz"))

    def _program(self, name: str, command: list[str], environ: dict[str, str], health: str) -> Program:
        return Program(name, command, self._environ | environ, partial(answers, health))


def _facts(claims: list[Manifest]) -> Manifest:
    found = [claim["spec"] for claim in claims if claim["kind"] == "InferenceAPI"]
    if len(found) != 1:
        raise UnusableClusterError(f"the cluster has {len(found)} InferenceAPI claims and needs one: run `make render`")
    facts: Manifest = found[0]
    return facts


def _passed_on() -> dict[str, str]:
    """Return what programs get of our own environment: nothing that could point them at a real AWS account."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG", "TMPDIR") if name in os.environ}
    # OPENBLAS_* tune numpy to the machine.
    kept |= {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
