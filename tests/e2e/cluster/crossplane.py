"""Crossplane's release as Argo CD finds it: the chart in its repository, the packages in their registry."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import yaml

from generator import addons, packages
from tests.e2e.cluster import dockerfiles, images, store
from tests.e2e.cluster.images import Image
from tests.e2e.cluster.places import CHARTS, REGISTRY
from tests.e2e.cluster.platform import kubectl, run
from tools.install import CONTROL_PLANE, install
from tools.modules import download

Manifest = dict[str, Any]

CORE = "github.com/crossplane/crossplane/v2"
PROVIDERS = "github.com/upbound/provider-aws/v2"


def publish() -> None:
    """Put Crossplane's image, chart and packages where manifests look for them."""
    _push_core()
    _package_chart()
    _tell_of_the_mirror()
    _publish_packages()


def _push_core() -> None:
    module, version = download(CORE), CONTROL_PLANE["crossplane-core"].version
    folders = {name: module / "cluster" / name for name in ("crds", "webhookconfigurations")}
    files = {f"{name}/{path.name}": path for name, folder in folders.items() for path in folder.glob("*.yaml")}
    images.push(
        Image(
            f"crossplane/crossplane:{version}",
            {"bin/crossplane": install("crossplane-core")} | files,
            {"Entrypoint": ["/bin/crossplane"], "User": "65532"},
        )
    )


def _package_chart() -> None:
    """Put the chart where the add-on says that it is."""
    (chart,) = (add_on.chart for add_on in addons.ADD_ONS if add_on.name == "crossplane")
    assert chart
    folder = CHARTS / chart.repository.removeprefix("https://")
    folder.mkdir(parents=True, exist_ok=True)
    helm, source = str(install("helm")), download(CORE) / "cluster" / "charts" / chart.name
    # The module has the source; a release differs in its version.
    release = ["--version", chart.version, "--app-version", chart.version]
    run(helm, "package", str(source), "--destination", str(folder), *release)
    run(helm, "repo", "index", str(folder), "--url", chart.repository)


def _tell_of_the_mirror() -> None:
    """Have Crossplane take packages from the cluster's registry, whichever one they name."""
    definition = download(CORE) / "cluster" / "crds" / "pkg.crossplane.io_imageconfigs.yaml"
    kubectl("apply", "--server-side", f"--filename={definition}")
    kubectl("wait", "crd", "imageconfigs.pkg.crossplane.io", "--for=condition=Established", "--timeout=30s")
    mirror = {
        "apiVersion": "pkg.crossplane.io/v1beta1",
        "kind": "ImageConfig",
        "metadata": {"name": "mirror"},
        "spec": {
            "matchImages": [{"type": "Prefix", "prefix": "xpkg.crossplane.io"}],
            "rewriteImage": {"prefix": REGISTRY},
        },
    }
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump(mirror))


def _publish_packages() -> None:
    runtime = dockerfiles.build("tests/e2e/packages")
    auto_ready = images.keep(
        Image(
            "darkroom/function-auto-ready:1",
            {"function": install("function-auto-ready")},
            {"Entrypoint": ["/function"], "User": "2000"},
        )
    )
    function: Manifest = {"kind": "Function", "spec": {"capabilities": ["composition"]}}
    for name, version in packages.FUNCTIONS.items():
        _publish_package(name, version, function, [], auto_ready if name == "function-auto-ready" else runtime)
    # Kinds become active one by one, as the policy in git says.
    provider: Manifest = {"kind": "Provider", "spec": {"capabilities": ["safe-start"]}}
    definitions = download(PROVIDERS) / "package" / "crds"
    groups = {provider.package: f"{provider.service}.aws.m.upbound.io" for provider in packages.PROVIDERS}
    for name, group in {packages.FAMILY: "aws.m.upbound.io", **groups}.items():
        kinds = sorted(definitions.glob(f"{group}_*.yaml"))
        _publish_package(name, packages.PROVIDERS_VERSION, provider, kinds, runtime)


def _publish_package(name: str, version: str, described: Manifest, definitions: list[Path], runtime: str) -> None:
    """Publish the package `name`: what it is and brings, in a layer of its own over the image that it runs.

    The format: https://github.com/crossplane/crossplane/blob/v2.2.1/contributing/specifications/xpkg.md
    """
    meta = {"apiVersion": "meta.pkg.crossplane.io/v1", "metadata": {"name": name}, **described}
    documents = [yaml.safe_dump(meta), *(path.read_text() for path in definitions)]
    content = "\n---\n".join(documents).encode()
    key = hashlib.sha256(runtime.encode() + content).hexdigest()[:16]
    image = f"{packages.REGISTRY.partition('/')[2]}/{name}"
    if not store.has(f"{image}:{key}"):
        with store.folder() as folder:
            layer = folder / "package.tar"
            with tarfile.open(layer, "w") as tar:
                member = tarfile.TarInfo("package.yaml")
                member.size, member.mode = len(content), 0o644
                tar.addfile(member, io.BytesIO(content))
            annotations = {"io.crossplane.xpkg": "base"}
            store.keep(f"{image}:{key}", store.layers(runtime), layer, store.config(runtime), annotations)
    store.publish(f"{image}:{key}", f"{image}:{version}")
