"""The programs of the cluster, and the files that configure them."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bootstrap.local import emulator
from tests.e2e.cluster import keys
from tests.e2e.cluster.places import (
    CGROUP,
    CHARTS,
    CONTAINERD,
    DNS,
    EMULATOR_PORT,
    IMAGES,
    KEYS,
    KUBECONFIG,
    NODE,
    PODS,
    REGISTRY,
    REPOSITORIES,
    SERVICES,
    STATE,
)

ROOT = Path(__file__).parents[3]
ACCOUNT, REGION = "000000000000", "us-east-1"
PAUSE = "docker.io/darkroom/pause:1"
SOCKET = CONTAINERD / "containerd.sock"


@dataclass(frozen=True)
class Component:
    """A program of the cluster: its name, its command line, and what its environment has more than ours."""

    name: str
    command: list[str]
    environ: dict[str, str] = field(default_factory=dict)


def write_files() -> None:
    """Write what the components read: keys, kubeconfig files, and settings."""
    for folder in (STATE, CHARTS, CONTAINERD, REPOSITORIES, STATE / "cni", IMAGES / "blobs", STATE / "emulator"):
        folder.mkdir(parents=True, exist_ok=True)
    if not (KEYS / "service-accounts.pub").exists():
        keys.make()
    keys.kubeconfig("admin", KUBECONFIG)
    for name in ("controller-manager", "scheduler", "proxy", "kubelet"):
        keys.kubeconfig(name, STATE / f"{name}.kubeconfig")
    (STATE / "containerd.toml").write_text(CONTAINERD_SETTINGS)
    mirrors = CONTAINERD / "certs.d" / "_default"
    mirrors.mkdir(parents=True, exist_ok=True)
    # Whatever registry an image names, the one beside the node is asked, and no other is reachable.
    (mirrors / "hosts.toml").write_text(f'[host."http://{REGISTRY}"]\n  capabilities = ["pull", "resolve"]\n')
    (STATE / "cni" / "10-bridge.conflist").write_text(json.dumps(CNI))
    (STATE / "kubelet.yaml").write_text(yaml.safe_dump(KUBELET))


def control_plane(k8s: Path) -> list[Component]:
    """Return etcd and what makes up the control plane, out of the one binary `k8s`."""
    authority, program = str(KEYS / "ca.crt"), str(k8s)
    certificates = {name: (str(KEYS / f"{name}.crt"), str(KEYS / f"{name}.key")) for name in keys.IDENTITIES}
    signing = [f"--root-ca-file={authority}", f"--cluster-signing-cert-file={authority}"]
    return [
        Component(
            "etcd",
            [
                *(program, "etcd", f"--data-dir={STATE / 'etcd'}", "--log-level=warn"),
                *("--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379"),
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--unsafe-no-fsync",  # nothing here is to outlive the machine
            ],
        ),
        Component(
            "kube-apiserver",
            [
                *(program, "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0"),
                *(f"--advertise-address={NODE}", "--endpoint-reconciler-type=lease", "--allow-privileged=true"),
                *("--authorization-mode=Node,RBAC", f"--service-cluster-ip-range={SERVICES}"),
                f"--client-ca-file={authority}",
                f"--tls-cert-file={certificates['apiserver'][0]}",
                f"--tls-private-key-file={certificates['apiserver'][1]}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={KEYS / 'service-accounts.pub'}",
                f"--service-account-signing-key-file={KEYS / 'service-accounts.key'}",
                f"--kubelet-certificate-authority={authority}",
                f"--kubelet-client-certificate={certificates['admin'][0]}",
                f"--kubelet-client-key={certificates['admin'][1]}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--requestheader-client-ca-file={authority}",
                "--requestheader-allowed-names=front-proxy",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-username-headers=X-Remote-User",
                f"--proxy-client-cert-file={certificates['front-proxy'][0]}",
                f"--proxy-client-key-file={certificates['front-proxy'][1]}",
            ],
        ),
        Component(
            "kube-controller-manager",
            [
                *(program, "kube-controller-manager", "--leader-elect=false", "--bind-address=127.0.0.1"),
                *(f"--kubeconfig={STATE / 'controller-manager.kubeconfig'}", "--use-service-account-credentials"),
                *(*signing, f"--cluster-signing-key-file={KEYS / 'ca.key'}"),
                f"--service-account-private-key-file={KEYS / 'service-accounts.key'}",
                *("--allocate-node-cidrs=true", f"--cluster-cidr={PODS}", f"--service-cluster-ip-range={SERVICES}"),
                "--node-cidr-mask-size=24",
                "--horizontal-pod-autoscaler-sync-period=5s",  # a queue that fills is a story of seconds here
            ],
        ),
        Component(
            "kube-scheduler",
            [
                *(program, "kube-scheduler", "--leader-elect=false", "--bind-address=127.0.0.1"),
                f"--kubeconfig={STATE / 'scheduler.kubeconfig'}",
            ],
        ),
    ]


def node(k8s: Path) -> list[Component]:
    """Return what runs pods."""
    program = str(k8s)
    return [
        Component("containerd", ["containerd", "--config", str(STATE / "containerd.toml")]),
        Component(
            "kubelet",
            [
                *(program, "kubelet", f"--config={STATE / 'kubelet.yaml'}", "--hostname-override=node1"),
                *(f"--kubeconfig={STATE / 'kubelet.kubeconfig'}", f"--root-dir={STATE / 'kubelet'}"),
                f"--node-ip={NODE}",
            ],
        ),
        Component(
            "kube-proxy",
            [
                *(program, "kube-proxy", f"--kubeconfig={STATE / 'proxy.kubeconfig'}", "--proxy-mode=iptables"),
                *(f"--cluster-cidr={PODS}", "--hostname-override=node1"),
                # The limits of connection tracking are the machine's, which are not the cluster's to change.
                *("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s"),
                "--conntrack-tcp-timeout-close-wait=0s",
            ],
        ),
    ]


def services(crane: Path) -> list[Component]:
    """Return what the cluster finds outside itself: registry, git server, chart repositories, AWS emulators."""
    aws = emulator.environ(EMULATOR_PORT, ACCOUNT, REGION, STATE / "emulator")
    # Its network is the cluster's own; URLs that it hands out are for pods and for tests.
    aws |= {"BIND_HOST": "0.0.0.0", "MINISTACK_HOST": NODE}
    return [
        Component(
            "registry",
            [str(crane), "registry", "serve", f"--address={REGISTRY}", f"--disk={IMAGES / 'blobs'}"],
        ),
        Component(
            "git",
            ["git", "daemon", "--reuseaddr", "--export-all", f"--base-path={REPOSITORIES}", f"--listen={NODE}"],
        ),
        Component(
            "charts",
            [
                *(sys.executable, "-m", "tests.e2e.cluster.charts", str(CHARTS)),
                *(str(KEYS / "charts.crt"), str(KEYS / "charts.key")),
            ],
        ),
        Component("emulator", emulator.command(ROOT / ".venv-emulator"), aws),
        Component("ec2", [sys.executable, "-m", "tests.e2e.cluster.ec2"]),
    ]


CONTAINERD_SETTINGS = f"""\
version = 2
root = "{CONTAINERD}/root"
state = "{CONTAINERD}/state"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # A machine that is itself in a sandbox may not make its processes less likely to be killed.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{STATE}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{CONTAINERD}/certs.d"
"""
CNI = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(STATE / "cni-addresses"),
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": str(KEYS / "ca.crt")},
    },
    "authorization": {"mode": "Webhook"},
    "tlsCertFile": str(KEYS / "kubelet.crt"),
    "tlsPrivateKeyFile": str(KEYS / "kubelet.key"),
    "containerRuntimeEndpoint": f"unix://{SOCKET}",
    "providerID": "machine:///node1",
    "cgroupDriver": "cgroupfs",  # nothing here needs systemd
    "cgroupRoot": f"/{CGROUP}",
    "failCgroupV1": False,
    "failSwapOn": False,
    "enforceNodeAllocatable": [],
    "clusterDNS": [DNS],
    "clusterDomain": "cluster.local",
    "podLogsDir": str(STATE / "pods"),
    # The disk is the machine's, however full it is.
    "evictionHard": {
        "memory.available": "1Mi",
        "nodefs.available": "1%",
        "imagefs.available": "1%",
        "nodefs.inodesFree": "1%",
    },
    "imageGCHighThresholdPercent": 100,
}
