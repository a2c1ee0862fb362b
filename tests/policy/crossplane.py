"""The real Crossplane command line, with functions that run as in a cluster."""

import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import yaml
from crossplane.function.proto.v1 import run_function_pb2 as fnv1
from crossplane.function.proto.v1 import run_function_pb2_grpc as grpcv1

from bootstrap.local.programs import Ports
from tests.e2e.packages.function_python import run
from tests.policy.rendered import APIS, Manifest
from tools import modules, schema
from tools.install import TOOLS

CORE = "github.com/crossplane/crossplane/v2"
RESOURCE_NAME = "crossplane.io/composition-resource-name"


class FunctionPython(grpcv1.FunctionRunnerServiceServicer):
    """Runs the script of its input."""

    def RunFunction(self, request: fnv1.RunFunctionRequest, _: Any) -> fnv1.RunFunctionResponse:  # noqa: N802
        """Answer `request` with what the script's `compose` makes of it."""
        return run(request)


@contextmanager
def function_python() -> Iterator[str]:
    """Serve FunctionPython on loopback, and give its address."""
    server = grpc.server(ThreadPoolExecutor(2))
    grpcv1.add_FunctionRunnerServiceServicer_to_server(FunctionPython(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextmanager
def function_auto_ready(program: Path) -> Iterator[str]:
    """Run the real function-auto-ready on loopback, and give its address."""
    address = f"127.0.0.1:{Ports().of('function-auto-ready', 0)}"
    with subprocess.Popen([program, "--insecure", "--address", address], stderr=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(30)
            yield address
        finally:
            process.terminate()


@dataclass(frozen=True)
class Crossplane:
    """The command line.

    Attributes:
        program: Its path.
        functions: Addresses of running functions, by the names that compositions call them.
        folder: A folder for files.
    """

    program: Path
    functions: dict[str, str]
    folder: Path

    def render(
        self, claim: Manifest, observed: dict[str, Manifest], required: Iterable[Manifest]
    ) -> tuple[Manifest, dict[str, Manifest]]:
        """Return `claim` with its status, and its resources by the composition's names, as `crossplane render` says."""
        api = APIS / claim["kind"].lower()
        existing = [manifest | {"metadata": _named(name, manifest)} for name, manifest in observed.items()]
        required = list(required)
        command = [
            *(self.program, "render", self._file("claim", claim), api / "composition.yaml"),
            *(self._file("functions", *self._function_manifests()), "--include-full-xr"),
            *("--xrd", api / "definition.yaml"),
            *(["--observed-resources", self._file("observed", *existing)] if existing else []),
            *(["--required-resources", self._file("required", *required)] if required else []),
        ]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        composite, *resources = yaml.load_all(done.stdout, yaml.CSafeLoader)
        return composite, {item["metadata"]["annotations"][RESOURCE_NAME]: item for item in resources}

    def validate(self, manifests: Iterable[Manifest]) -> str:
        """Return what `crossplane beta validate` has against `manifests`; empty when nothing."""
        manifests = list(manifests)
        kinds = {(item["apiVersion"].rpartition("/")[0], item["kind"]) for item in manifests}
        theirs = [schema.definition_file(*kind) for kind in sorted(kinds) if kind[0] != "darkroom.dev"]
        definitions = [*sorted(APIS.glob("*/definition.yaml")), *theirs]
        command = [
            *(self.program, "beta", "validate", ",".join(str(path) for path in definitions)),
            *(self._file("resources", *manifests), "--error-on-missing-schemas", "--skip-success-results"),
            *("--cache-dir", self._package_cache()),
        ]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr if done.returncode else ""

    def _function_manifests(self) -> list[Manifest]:
        return [
            {
                "apiVersion": "pkg.crossplane.io/v1",
                "kind": "Function",
                "metadata": {
                    "name": name,
                    "annotations": {
                        "render.crossplane.io/runtime": "Development",
                        "render.crossplane.io/runtime-development-target": f"dns:///{address}",
                    },
                },
                "spec": {"package": "xpkg.crossplane.io/none:v0.0.0"},
            }
            for name, address in self.functions.items()
        ]

    def _package_cache(self) -> Path:
        """Return a cache that has what the command line would pull: the definitions of Crossplane's own kinds."""
        version = TOOLS["crossplane"].version
        package = self.folder / "cache" / "xpkg.crossplane.io" / "crossplane" / f"crossplane@{version}" / "package.yaml"
        if not package.exists():
            package.parent.mkdir(parents=True)
            definitions = sorted((modules.download(CORE) / "cluster" / "crds").glob("*.yaml"))
            package.write_text("\n---\n".join(path.read_text() for path in definitions))
        return self.folder / "cache"

    def _file(self, name: str, *manifests: Manifest) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.dump_all(manifests, Dumper=yaml.CSafeDumper))
        return path


def _named(name: str, manifest: Manifest) -> Manifest:
    metadata: Manifest = manifest["metadata"]
    return metadata | {"annotations": metadata.get("annotations", {}) | {RESOURCE_NAME: name}}
