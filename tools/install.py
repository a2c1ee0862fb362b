"""Command-line tools at their pinned versions: the one on PATH where it is exactly that, else built once and kept."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.go import go

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Tool:
    """A command-line tool, whose module is `tools/<name>/go.mod`.

    Attributes:
        name: Its name, as a command.
        stamps: The Go variables that its authors' release builds set, as `variable=value`; `{version}` is its version.
        version_arguments: What makes it print its version. A tool without is never looked for on PATH.
        of: The module whose version is its version, where its main function is our own.
    """

    name: str
    stamps: tuple[str, ...] = ()
    version_arguments: tuple[str, ...] = ()
    of: str = ""

    @property
    def module(self) -> Path:
        """The folder of its go.mod."""
        return FOLDER / self.name

    @property
    def package(self) -> str:
        """The Go package of its main function: the one `tool` line of its go.mod."""
        (package,) = re.findall(r"^tool (\S+)$", (self.module / "go.mod").read_text(), re.MULTILINE)
        return str(package)

    @property
    def version(self) -> str:
        """The version that its go.mod requires, such as `v3.22.0`."""
        required = re.findall(r"^(?:require |\t)(\S+) (v\S+)", (self.module / "go.mod").read_text(), re.MULTILINE)
        package = self.of or self.package
        return next(str(version) for path, version in required if f"{package}/".startswith(f"{path}/"))

    @property
    def flags(self) -> list[str]:
        """What it is built with."""
        stamps = "".join(f" -X {stamp.format(version=self.version)}" for stamp in self.stamps)
        return ["-trimpath", "-ldflags", f"-s -w{stamps}"]


# What Helm takes for the cluster's version when it cannot ask one: that of the Kubernetes libraries in its go.mod.
HELM_CAPABILITIES = tuple(
    f"helm.sh/helm/v3/pkg/{package}.k8sVersion{part}"
    for package in ("chartutil", "lint/rules")
    for part in ("Major=1", "Minor=37")
)
TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "helm",
            ("helm.sh/helm/v3/internal/version.version={version}", *HELM_CAPABILITIES),
            ("version", "--short"),
        ),
        Tool("kubeconform", ("main.version={version}",), ("-v",)),
        Tool(
            "crossplane",
            ("github.com/crossplane/crossplane/v2/internal/version.version={version}",),
            ("version", "--client"),
        ),
        Tool("function-auto-ready"),
        Tool("kube-linter", ("golang.stackrox.io/kube-linter/internal/version.version={version}",), ("version",)),
    )
}

# What `make e2e` runs beside those: the control plane, built of the same modules as its authors' releases.
CONTROL_PLANE = {
    tool.name: tool
    for tool in (
        Tool("crane"),
        Tool("k8s", ("k8s.io/component-base/version.gitVersion={version}",), of="k8s.io/kubernetes"),
        Tool("coredns", of="github.com/coredns/coredns"),
        Tool("crossplane-core", ("github.com/crossplane/crossplane/v2/internal/version.version={version}",)),
        Tool("argocd", ("github.com/argoproj/argo-cd/v3/common.version={version}",)),
        Tool("keda-operator", ("github.com/kedacore/keda/v2/version.Version={version}",)),
        Tool("keda-adapter", ("github.com/kedacore/keda/v2/version.Version={version}",)),
        Tool("karpenter"),
        Tool("kwok"),
    )
}


def install(name: str) -> Path:
    """Return the path of the tool called `name`, at its pinned version.

    Raises:
        GoError: It is neither on PATH nor in the cache, and cannot be built.
    """
    tool = (TOOLS | CONTROL_PLANE)[name]
    return find(name) or _build(tool)


def find(name: str) -> Path | None:
    """Return the path of the tool called `name` at its pinned version, or None when it must be built first."""
    tool = (TOOLS | CONTROL_PLANE)[name]
    built = _target(tool)
    return _on_path(tool) or (built if built.exists() else None)


def cache() -> Path:
    """Return the folder outside the repository where costly things are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkroom"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let only one process at a time write below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _on_path(tool: Tool) -> Path | None:
    found = shutil.which(tool.name) if tool.version_arguments else None
    if not found:
        return None
    said = subprocess.run([found, *tool.version_arguments], capture_output=True, text=True, check=False)
    exact = rf"(?<![\w.]){re.escape(tool.version)}(?![\w.-])"
    return Path(found) if re.search(exact, said.stdout + said.stderr) else None


def _target(tool: Tool) -> Path:
    pinned = b"".join((tool.module / file).read_bytes() for file in ("go.mod", "go.sum"))
    key = hashlib.sha256(pinned + " ".join(tool.flags).encode()).hexdigest()[:16]
    return cache() / "tools" / f"{tool.name}-{key}" / tool.name


def _build(tool: Tool) -> Path:
    binary = _target(tool)
    with locked(cache() / "tools"):
        if not binary.exists():
            began = time.monotonic()
            sys.stderr.write(f"Building {tool.name} {tool.version}, once for this machine: minutes on a few cores\n")
            unfinished = binary.parent.with_name(f".{binary.parent.name}")
            go("build", "-o", str(unfinished / tool.name), *tool.flags, tool.package, folder=tool.module)
            unfinished.rename(binary.parent)
            sys.stderr.write(f"Built {binary} in {time.monotonic() - began:.0f} s\n")
    return binary
