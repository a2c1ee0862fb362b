"""Where the cluster keeps its files, and its addresses."""

from pathlib import Path

from tools.install import cache

# Everything that the cluster writes, but its images and cgroups, is below this folder.
STATE = cache() / "e2e"
LOGS = STATE / "logs"
KEYS = STATE / "keys"
KUBECONFIG = STATE / "admin.kubeconfig"
REPOSITORIES = STATE / "git"
CONTAINERD = STATE / "containerd"

# What is costly and the same in the next cluster outlives this one.
IMAGES = cache() / "images"
BUILDS = cache() / "builds"

# Files of chart repositories, in a folder for each host.
CHARTS = STATE / "charts"
CHART_HOSTS = ("charts.crossplane.io",)

# A pair of interfaces joins the cluster's network namespace to this machine. It goes when the namespace goes.
LINK = "darkroom-e2e"
HOST = "10.88.0.2"
NODE = "10.88.0.1"
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
DNS = "10.96.0.10"

API_SERVER = f"https://{NODE}:6443"
REGISTRY = f"{NODE}:5001"
EMULATOR_PORT = 4566
GIT = f"git://{NODE}/"

# Of each cgroup controller, the group that all pods are in.
CGROUP = "darkroom-e2e"
CGROUPS = Path("/sys/fs/cgroup")
