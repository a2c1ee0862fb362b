"""What runs in the cluster before git says anything: DNS, Argo CD and KEDA, each as pods of its own release."""

import json
import subprocess
from pathlib import Path

import yaml

from tests.e2e.cluster.components import PAUSE, ROOT
from tests.e2e.cluster.debian import Debian
from tests.e2e.cluster.images import Image, push
from tests.e2e.cluster.places import CHART_HOSTS, KEYS, KUBECONFIG
from tools.install import CONTROL_PLANE, install
from tools.modules import download

# What the images of Argo CD and Redis have beside those.
ARGOCD_BASE = Debian("bookworm", ("git", "gnupg", "tini", "redis-server", "ca-certificates"))
DNS_IMAGE = "darkroom/coredns:1"
BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
POOL = "machine"  # in config.yaml, too


class PlatformError(Exception):
    """Something cannot be installed into the cluster; the text is what kubectl or helm said."""


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the cluster's administrator and return what it prints.

    Raises:
        PlatformError: It failed.
    """
    return run(str(install("k8s")), "kubectl", f"--kubeconfig={KUBECONFIG}", *arguments, stdin=stdin)


def run(*command: str, stdin: str | None = None) -> str:
    """Run a program and return what it prints.

    Raises:
        PlatformError: It failed.
    """
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PlatformError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
    return done.stdout


def install_dns() -> None:
    """Let pods start and find services by their names."""
    if not BUSYBOX.exists():
        raise PlatformError("busybox is not installed. On Debian: apt-get install busybox-static")
    push(
        Image(
            PAUSE.removeprefix("docker.io/"),
            {"bin/busybox": BUSYBOX},
            {"Entrypoint": ["/bin/busybox", "sleep", "2147483647"]},
        )
    )
    push(Image(DNS_IMAGE, {"bin/coredns": install("coredns")}, {"Entrypoint": ["/bin/coredns"]}))
    kubectl("apply", "--filename", str(Path(__file__).with_name("coredns.yaml")))
    wait_for_deployments("kube-system")


def give_pods_aws() -> None:
    """Tell every pod from now on where AWS is, as EKS tells pods who they are there."""
    kubectl("apply", "--filename", str(Path(__file__).with_name("aws.yaml")))


def offer_gpus() -> None:
    """Have the machine's node say what one of a runtime's nodes says, so that runtimes' pods run there.

    Last of all: Karpenter's own chart keeps away from nodes of a pool.
    """
    # Karpenter does nothing while a node of a pool is not initialized, or has no ID.
    kubectl("label", "node", "node1", f"karpenter.sh/nodepool={POOL}", "karpenter.sh/initialized=true")
    capacity = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "4"}]
    kubectl("patch", "node", "node1", "--subresource=status", "--type=json", f"--patch={json.dumps(capacity)}")


def install_argocd() -> None:
    """Install Argo CD's own manifests, as they are."""
    module, version = download("github.com/argoproj/argo-cd/v3"), CONTROL_PLANE["argocd"].version
    names = ("argocd", *(f"argocd-{part}" for part in PARTS))
    push(
        Image(
            f"argoproj/argocd:{version}",
            {
                "usr/local/bin/argocd": install("argocd"),
                "usr/local/bin/helm": install("helm"),
                "usr/local/bin/entrypoint.sh": module / "entrypoint.sh",
                "usr/local/bin/git-verify-wrapper.sh": module / "hack" / "git-verify-wrapper.sh",
                "usr/local/bin/gpg-wrapper.sh": module / "hack" / "gpg-wrapper.sh",
            },
            {"User": "999", "WorkingDir": "/home", "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp"]},
            links={f"usr/local/bin/{name}": "argocd" for name in names[1:]},
            base=ARGOCD_BASE,
        )
    )
    manifests = (module / "manifests" / "core-install.yaml").read_text()
    redis = next(line.split()[-1] for line in manifests.splitlines() if "/redis:" in line)
    push(
        Image(
            redis.partition("/")[2],
            {},
            {
                "Entrypoint": ["/usr/bin/redis-server", "--protected-mode", "no"],
                "Env": ["PATH=/usr/bin:/bin"],
                "User": "999",
            },
            base=ARGOCD_BASE,
        )
    )
    kubectl("create", "namespace", "argocd")
    kubectl("apply", "--server-side", "--namespace=argocd", "--filename=-", stdin=_configured(manifests))
    wait_for_deployments("argocd")


def install_keda() -> None:
    """Install KEDA's own manifests, the smallest set: operator and metrics server."""
    module = download("github.com/kedacore/keda/v2")
    manifests = kubectl("kustomize", str(module / "config" / "minimal"))
    for line in sorted({line.split()[-1] for line in manifests.splitlines() if line.strip().startswith("image: ")}):
        repository = line.partition("/")[2]
        adapter = "metrics-apiserver" in repository
        program = install("keda-adapter" if adapter else "keda-operator")
        path = f"/{'keda-adapter' if adapter else 'keda'}"
        push(Image(repository, {path[1:]: program}, {"Entrypoint": [path], "User": "1000"}))
    kubectl("apply", "--server-side", "--filename=-", stdin=manifests)
    wait_for_deployments("keda")


def _configured(manifests: str) -> str:
    """Return Argo CD's manifests with what the chart would make of our values, and whom to trust for charts.

    They are not a chart: of `apps/argocd/values.yaml`, what is said of health and tracking holds for them, too.
    """
    values = yaml.safe_load((ROOT / "apps" / "argocd" / "values.yaml").read_text())
    certificate = (KEYS / "ca.crt").read_text()
    settings = {
        "argocd-cm": values["configs"]["cm"],
        "argocd-tls-certs-cm": dict.fromkeys(CHART_HOSTS, certificate),
    }
    documents = [document for document in yaml.load_all(manifests, yaml.CSafeLoader) if document]
    for document in documents:
        if document["kind"] == "ConfigMap" and (data := settings.get(document["metadata"]["name"])):
            document["data"] = document.get("data", {}) | data
    return str(yaml.dump_all(documents, Dumper=yaml.CSafeDumper))


def wait_for_deployments(namespace: str) -> None:
    """Wait until every Deployment of a namespace is available.

    Raises:
        PlatformError: One is not, in time.
    """
    kubectl("wait", "deployment", "--all", f"--namespace={namespace}", "--for=condition=Available", "--timeout=180s")


PARTS = (
    "application-controller",
    "applicationset-controller",
    "cmp-server",
    "commit-server",
    "dex",
    "k8s-auth",
    "notifications",
    "repo-server",
    "server",
)
