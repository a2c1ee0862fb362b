"""Bringing the cluster up and taking it down, from outside its namespaces."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests

from tests.e2e.cluster import store
from tests.e2e.cluster.components import ROOT, write_files
from tests.e2e.cluster.places import (
    CGROUP,
    CGROUPS,
    EMULATOR_PORT,
    HOST,
    KEYS,
    LINK,
    LOGS,
    NODE,
    PODS,
    REGISTRY,
    SERVICES,
    STATE,
)

PID = STATE / "pid"
READY_SECONDS = 180


class ClusterError(Exception):
    """The cluster cannot be brought up; the text says why and where to look."""


def up(k8s: Path, crane: Path) -> None:
    """Bring a new cluster up; when this returns, its control plane, registry and emulator answer.

    Raises:
        ClusterError: One is up already, something is missing, or it does not get ready.
    """
    if process() is not None:
        raise ClusterError("the cluster is up already: `make cluster-down` takes it down")
    needed = ("containerd", "runc", "git", "ip", "iptables", "unshare")
    if missing := [name for name in needed if not shutil.which(name)]:
        raise ClusterError(
            f"{', '.join(missing)}: not installed. On Debian: "
            "apt-get install containerd runc containernetworking-plugins git iproute2 iptables"
        )
    down()
    store.sweep()
    write_files()
    _make_cgroups()
    LOGS.mkdir(exist_ok=True)
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["--propagation", "private", sys.executable, "-m", "tests.e2e.cluster.init", str(k8s), str(crane)]
    # Somebody else's child: it is to stay when we end, and to go without our waiting for it.
    shell = ["setsid", "--fork", "sh", "-c", 'echo $$ >"$0"; exec "$@"', str(PID)]
    with (LOGS / "init.log").open("ab") as log:
        subprocess.run([*shell, *command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
    outer = _written_pid()
    PID.write_text(f"{outer} {_started(outer)}")
    inner = _child_of(outer)
    for words in (
        f"ip link add {LINK} type veth peer name eth0 netns {inner}",
        f"ip address add {HOST}/24 dev {LINK}",
        f"ip link set {LINK} up",
        f"ip route add {PODS} via {NODE}",
        f"ip route add {SERVICES} via {NODE}",
    ):
        subprocess.run(words.split(), check=True)
    wait("registry", lambda: _answers(f"http://{REGISTRY}/v2/"))
    wait("emulator", lambda: _answers(f"http://{NODE}:{EMULATOR_PORT}/_ministack/health"))
    wait("kube-apiserver", api_server_is_ready)


def down() -> None:
    """End the cluster and remove all that it left; does nothing where there is nothing."""
    if (outer := process()) is not None:
        # The first process of the namespaces goes with it, and with that one all others.
        os.kill(outer, signal.SIGKILL)
        while process() is not None:
            time.sleep(0.05)
    PID.unlink(missing_ok=True)
    # The namespace takes its interfaces along, but not at once.
    subprocess.run(["ip", "link", "delete", LINK], capture_output=True, check=False)
    _remove_cgroups()
    for path in STATE.glob("*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def process() -> int | None:
    """Return the process that holds the cluster's namespaces, or None when it is down."""
    try:
        pid, started = PID.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    # Another process may have got the same number since.
    return int(pid) if _started(int(pid)) == started else None


def wait(name: str, ready: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    """Wait until `ready`.

    Raises:
        ClusterError: It is not after `seconds`, or the cluster is gone.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if process() is None:
            raise ClusterError(f"the cluster ended: see {LOGS / 'init.log'}")
        if time.monotonic() > deadline:
            raise ClusterError(f"{name} is not ready after {seconds:g} s: see {LOGS}/{name}.log")
        time.sleep(0.2)


def api_server_is_ready() -> bool:
    """Return whether the API server answers that it is ready."""
    certificate = (str(KEYS / "admin.crt"), str(KEYS / "admin.key"))
    try:
        url = f"https://{NODE}:6443/readyz"
        return requests.get(url, cert=certificate, verify=str(KEYS / "ca.crt"), timeout=2).ok
    except requests.RequestException:
        return False


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


def _started(pid: int) -> str | None:
    """Return when a process was started, in clock ticks since the machine was; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _written_pid() -> int:
    for _ in range(100):
        if PID.exists() and (text := PID.read_text().strip()):
            return int(text)
        time.sleep(0.05)
    raise ClusterError(f"no namespaces were made: see {LOGS / 'init.log'}")


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(100):
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.05)
    raise ClusterError(f"no namespaces were made: see {LOGS / 'init.log'}. It needs root.")


def _cgroups() -> list[Path]:
    """Return our group of each controller: one folder where version 2 is mounted, many with version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS / CGROUP]
    return [path / CGROUP for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _make_cgroups() -> None:
    for group in _cgroups():
        group.mkdir(exist_ok=True)
        # Nothing runs in a group of processors until it has some.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group.parent / setting).exists() and (group / setting).exists():
                (group / setting).write_text((group.parent / setting).read_text())


def _remove_cgroups() -> None:
    for group in _cgroups():
        if not group.exists():
            continue
        for folder, _, _ in os.walk(group, topdown=False):
            for _ in range(50):  # the kernel takes a moment to let go of processes that ended
                try:
                    Path(folder).rmdir()
                    break
                except OSError:
                    time.sleep(0.1)
