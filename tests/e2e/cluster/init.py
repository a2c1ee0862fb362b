"""The first process of the cluster's namespaces: it starts the components and ends all of them when it ends.

Interfaces, packet filter rules, mounts and processes are the namespaces' own, so that nothing of the cluster is left
when this process is gone, however that went.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.cluster.components import Component, control_plane, node, services
from tests.e2e.cluster.places import HOST, LOGS, NODE

LINK_SECONDS = 10


def main() -> None:
    """Run the components until told to stop. Arguments: the paths of the binaries k8s and crane."""
    k8s, crane = (Path(path) for path in sys.argv[1:3])
    _network()
    LOGS.mkdir(parents=True, exist_ok=True)
    children = {}
    for component in (*services(crane), *control_plane(k8s), *node(k8s)):
        child = _start(component)
        children[child.pid] = component
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return
        # As the first process we inherit those of containers, too.
        if ended in children:
            component = children.pop(ended)
            code = os.waitstatus_to_exitcode(status)
            sys.stderr.write(f"{component.name} ended with code {code} and is started again\n")
            # A kubelet gives up where the control plane is not there yet; systemd would start it again.
            time.sleep(1)
            children[_start(component).pid] = component


def _network() -> None:
    deadline = time.monotonic() + LINK_SECONDS
    while not _has_link():
        if time.monotonic() > deadline:
            sys.exit("no interface joined the cluster's network namespace")
        time.sleep(0.05)
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "address", "add", f"{NODE}/24", "dev", "eth0"),
        ("ip", "link", "set", "eth0", "up"),
        ("ip", "route", "add", "default", "via", HOST),
    ):
        subprocess.run(command, check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _has_link() -> bool:
    # /sys still shows the interfaces of the namespace that it was mounted in.
    return "eth0:" in Path("/proc/net/dev").read_text()


def _start(component: Component) -> subprocess.Popen[bytes]:
    with (LOGS / f"{component.name}.log").open("ab") as log:
        return subprocess.Popen(
            component.command,
            env=os.environ | component.environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


if __name__ == "__main__":
    main()
