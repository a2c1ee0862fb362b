"""The embedded cluster: emulator, job API, and one agent with its inference server for each runtime of a commit."""

import base64
import os
import secrets
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from bootstrap.local import emulator, git
from bootstrap.local.admission import Admission
from bootstrap.local.compositions import Compositions
from bootstrap.local.programs import Death, NotReadyError, Ports, Program, Programs, answers
from bootstrap.local.provider import Provider
from bootstrap.local.reconciler import Reconciler
from bootstrap.local.runtimes import Runtime, UnusableClusterError
from generator.build import build
from generator.load import ConfigError, load

Manifest = dict[str, Any]

EMULATOR, API, WEBHOOKS = "emulator", "api", "webhooks"
USUAL_PORTS = {EMULATOR: 4566, API: 8000, "webui": 8080, "agent": 9090}
# Somebody else may take a port between our look at it and a program's use of it.
STARTS = 3
# A look at the routing table costs nothing here, and what was just told to be there is asked for at once.
RUNTIMES_REFRESH_SECONDS = 0


@dataclass(frozen=True)
class Change:
    """What a commit changed.

    Attributes:
        added, changed, removed: Names of runtimes.
        not_started: Why a runtime is not running here, by its name.
        stale: Whether the commit's rendered files are not what its config.yaml makes.
    """

    commit: str
    added: list[str]
    changed: list[str]
    removed: list[str]
    not_started: dict[str, str]
    stale: bool


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
        self._run = run
        self._ports = Ports()
        self._programs = Programs(run / "logs")
        self._runtimes: dict[str, Runtime] = {}
        self._commit = ""

    @property
    def endpoints(self) -> dict[str, str]:
        """Where everything listens, by what it is."""
        found = {"API and console": self._url(API), "AWS": self._url(EMULATOR)}
        for runtime in self._runtimes.values():
            found[f"{runtime.name}: web UI"] = f"{self._url(runtime.server)}/sdapi/v1/"
            found[f"{runtime.name}: agent"] = f"{self._url(runtime.agent)}/metrics"
        return found

    @property
    def not_run(self) -> list[str]:
        """What the claims ask for that is not run on this machine, in words."""
        return self._reconciler.not_run

    @property
    def api(self) -> str:
        """Where the job API is."""
        return self._url(API)

    def start(self) -> Change:
        """Start everything that the checked-out commit asks for; when this returns, all of it is, but broken runtimes.

        Raises:
            GitError, UnusableClusterError, InvalidClaimError, CompositionError, NotReadyError: What went wrong.
        """
        state = git.read(self._repository, git.head(self._repository), self._cluster)
        for left in reversed(range(STARTS)):
            try:
                self._start_emulator(_facts(state.claims))
                change = self._deploy(state)
                self._programs.wait_ready(API)
                self.wait_ready()
            except NotReadyError as error:
                if left and "in use" in str(error):
                    self._programs.kill()
                    self._ports, self._runtimes = Ports(), {}
                    continue
                if error.name in USUAL_PORTS:
                    raise
            break
        return change

    def wait_ready(self) -> None:
        """Wait until every runtime can serve.

        Raises:
            NotReadyError: One cannot.
        """
        for runtime in self._runtimes.values():
            self._programs.wait_ready(runtime.server)
            self._programs.wait_ready(runtime.agent)

    def follow(self) -> Change | None:
        """Deploy the checked-out commit if it is another than before, and return what that changed.

        Raises:
            GitError, UnusableClusterError, InvalidClaimError: The commit cannot be deployed; nothing was changed.
            CompositionError: A claim of the commit cannot be served; the others are.
        """
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
        runtimes = self._runtimes.values()
        self._programs.stop(*(runtime.agent for runtime in runtimes))
        self._programs.stop(API, WEBHOOKS, *(runtime.server for runtime in runtimes))
        self._programs.stop(EMULATOR)

    def kill(self) -> None:
        """End everything at once."""
        self._programs.kill()

    def _start_emulator(self, facts: Manifest) -> None:
        port = self._ports.of(EMULATOR, USUAL_PORTS[EMULATOR])
        self._environ = _passed_on() | emulator.client_environ(port, facts["region"])
        command = emulator.command(self._repository / ".venv-emulator")
        environ = emulator.environ(port, facts["accountId"], facts["region"], self._run)
        self._programs.start(
            Program(EMULATOR, command, environ, partial(answers, self._url(EMULATOR) + emulator.HEALTH))
        )
        self._programs.wait_ready(EMULATOR)
        session = boto3.Session(
            aws_access_key_id=self._environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self._environ["AWS_SECRET_ACCESS_KEY"],
            region_name=facts["region"],
        )
        apis = self._repository / "apps" / "crossplane" / "apis"
        provider = partial(Provider, session, self._url(EMULATOR))
        self._reconciler = Reconciler(provider, Admission(apis), Compositions(apis))

    def _deploy(self, state: git.DesiredState) -> Change:
        # All that can be refused is looked at before anything is touched.
        _facts(state.claims)
        asked = [Runtime.of(application) for application in state.applications.values()]
        self._reconciler.admit(state.claims)
        models = frozenset(path.name for path in (self._repository / "webui" / "tiny" / "model").glob("*.safetensors"))
        obstacles = {runtime.name: why for runtime in asked if (why := runtime.obstacle(models))}
        wanted = {runtime.name: runtime for runtime in asked if runtime.name not in obstacles}

        before = self._runtimes
        removed = [name for name in before if name not in wanted]
        for name in removed:
            self._stop(before[name])
        self._reconciler.reconcile(state.claims)
        self._commit = state.commit
        self._runtimes = wanted
        changed = {name for name in wanted if self._start_if_changed(wanted[name])}
        self._start_api_if_changed()
        self._start_webhooks_if_changed()
        return Change(
            state.commit,
            added=[name for name in wanted if name not in before],
            changed=[name for name in wanted if name in before and name in changed],
            removed=removed,
            not_started=obstacles,
            stale=_stale(state, self._cluster),
        )

    def _stop(self, runtime: Runtime) -> None:
        for name in (runtime.agent, runtime.server):
            self._programs.stop(name)
            self._ports.give_back(name)

    def _start_api_if_changed(self) -> None:
        api = self._reconciler.status("InferenceAPI")
        port = self._ports.of(API, USUAL_PORTS[API])
        environ = {
            "SNS_TOPIC_ARN": api["inputTopicArn"],
            "S3_OUTPUT_BUCKET": api["bucket"],
            "RUNTIMES_BUCKET": api["configBucket"],
            "RUNTIMES_REFRESH_SECONDS": str(RUNTIMES_REFRESH_SECONDS),
        }
        command = [sys.executable, "-m", "api", "--host", "127.0.0.1", "--port", str(port)]
        self._start_programs_if_changed(self._program(API, (command, environ), "/healthz"))

    def _start_webhooks_if_changed(self) -> None:
        api = self._reconciler.status("InferenceAPI")
        secret = self._run / "webhook-secret"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
        environ = {
            "S3_OUTPUT_BUCKET": api["bucket"],
            "WEBHOOK_QUEUE_URL": api["webhookQueueUrl"],
            "WEBHOOK_SECRETS_FILE": str(secret),
            # Whoever tries webhooks here has a receiver here.
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "WEBHOOK_WAIT_SECONDS": "1",
        }
        command = [sys.executable, "-m", "api.webhooks"]
        # Nobody asks it anything, so nobody waits for it.
        self._start_programs_if_changed(Program(WEBHOOKS, command, self._environ | environ, lambda: True))

    def _start_if_changed(self, runtime: Runtime) -> bool:
        """Start the runtime's programs unless they run as they are wanted; return whether they were started."""
        config = self._reconciler.config_map(runtime.config_map)
        if config is None:
            raise UnusableClusterError(f"runtime {runtime.name} has no InferenceRuntime claim: run `make render`")
        port = self._ports.of(runtime.server, USUAL_PORTS["webui"])
        health = self._ports.of(runtime.agent, USUAL_PORTS["agent"])
        server = self._program(runtime.server, runtime.server_command(port), "/sdapi/v1/options")
        agent = runtime.agent_command(config, self._url(runtime.server), health)
        return self._start_programs_if_changed(server, self._program(runtime.agent, agent, "/readyz"))

    def _start_programs_if_changed(self, *programs: Program) -> bool:
        running = self._programs.running()
        if all(running.get(program.name) == program for program in programs):
            return False
        self._programs.stop(*(program.name for program in reversed(programs)))
        for program in programs:
            self._programs.start(program)
        return True

    def _program(self, name: str, how: tuple[list[str], dict[str, str]], health: str) -> Program:
        command, environ = how
        return Program(name, command, self._environ | environ, partial(answers, self._url(name) + health))

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports.of(name, 0)}"


def _facts(claims: list[Manifest]) -> Manifest:
    """Return the spec of the cluster's InferenceAPI, which says region and account."""
    found = [claim["spec"] for claim in claims if claim["kind"] == "InferenceAPI"]
    if len(found) != 1:
        raise UnusableClusterError(f"the cluster has {len(found)} InferenceAPI claims and needs one: run `make render`")
    facts: Manifest = found[0]
    return facts


def _stale(state: git.DesiredState, cluster: str) -> bool:
    source = f"{cluster}/config.yaml"
    try:
        made = build(load(state.config, source).config, cluster, source)
    except ConfigError:
        return True
    return {path: text for path, text in made.items() if path.startswith(f"{cluster}/rendered/")} != state.rendered


def _passed_on() -> dict[str, str]:
    """Return what programs get of our own environment: nothing that could point them at a real AWS account."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG", "TMPDIR") if name in os.environ}
    # OPENBLAS_* tune numpy to the machine.
    kept |= {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
