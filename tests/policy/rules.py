"""Our own rules for manifests. Each yields what is wrong with one, and nothing for what it is not about."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.policy.findings import Finding
from tests.policy.rendered import Manifest, Rendered

Rule = Callable[[Manifest], Iterator[str]]


def images_are_pinned(manifest: Manifest) -> Iterator[str]:
    """Every image has a digest, or a tag that is not `latest`."""
    for image in values_of(manifest, {"image", "imageUri", "package"}):
        if isinstance(image, str) and not re.search(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[^:/@]+$", image):
            yield f"image {image} is not pinned"


def containers_say_what_they_need(manifest: Manifest) -> Iterator[str]:
    """Every container requests CPU and memory, and cannot take more memory than its limit."""
    for container in containers(manifest):
        resources = container.get("resources", {})
        for part, names in (("requests", ("cpu", "memory")), ("limits", ("memory",))):
            for name in names:
                if name not in resources.get(part, {}):
                    yield f"container {container['name']} has no {part}.{name}"


def containers_are_confined(manifest: Manifest) -> Iterator[str]:
    """No container runs as root, writes to its root file system, or has any privilege."""
    pod = pod_of(manifest).get("securityContext", {})
    for container in containers(manifest):
        own = container.get("securityContext", {})
        wanted = {
            "runAsNonRoot": (own.get("runAsNonRoot", pod.get("runAsNonRoot")), True),
            "seccompProfile": (own.get("seccompProfile", pod.get("seccompProfile")), {"type": "RuntimeDefault"}),
            "readOnlyRootFilesystem": (own.get("readOnlyRootFilesystem"), True),
            "allowPrivilegeEscalation": (own.get("allowPrivilegeEscalation"), False),
            "capabilities": (own.get("capabilities"), {"drop": ["ALL"]}),
            "privileged": (own.get("privileged", False), False),
        }
        for name, (value, right) in wanted.items():
            if value != right:
                yield f"container {container['name']} has {name} {value}, not {right}"


def pods_share_nothing_with_their_node(manifest: Manifest) -> Iterator[str]:
    """No pod uses the node's network, processes or files, and only those that need it talk to the API server."""
    pod = pod_of(manifest)
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{name} is set"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a path of the node"
    if pod and pod.get("serviceAccountName", "default") == "default":
        yield "the pod runs as the namespace's default service account"


def no_secret_is_in_git(manifest: Manifest) -> Iterator[str]:
    """Nothing that is rendered holds a secret."""
    if manifest["kind"] == "Secret":
        yield "a Secret is rendered"


def roles_name_what_they_allow(manifest: Manifest) -> Iterator[str]:
    """No role of Kubernetes allows `*`."""
    if manifest["kind"] in {"Role", "ClusterRole"}:
        for rule in manifest.get("rules", []):
            for part in ("apiGroups", "resources", "verbs"):
                if "*" in rule.get(part, []):
                    yield f"{part} has *"


def nodes_have_no_open_metadata(manifest: Manifest) -> Iterator[str]:
    """Instances answer metadata requests only with a session token, and only to the node itself."""
    if manifest["kind"] == "EC2NodeClass":
        options = manifest["spec"].get("metadataOptions", {})
        if (options.get("httpTokens"), options.get("httpPutResponseHopLimit")) != ("required", 1):
            yield f"metadataOptions {options} let pods take the node's identity"


RULES: dict[str, Rule] = {
    "pinned-image": images_are_pinned,
    "resources": containers_say_what_they_need,
    "confined": containers_are_confined,
    "own-node": pods_share_nothing_with_their_node,
    "no-secret": no_secret_is_in_git,
    "named-rights": roles_name_what_they_allow,
    "closed-metadata": nodes_have_no_open_metadata,
}


def find(items: list[Rendered]) -> Iterator[Finding]:
    """Yield what every rule has against `items`."""
    for item in items:
        for check, rule in RULES.items():
            for text in rule(item.manifest):
                yield Finding("rules", check, item.kind, item.name, text)
    yield from scaled_by_one(items)


def scaled_by_one(items: list[Rendered]) -> Iterator[Finding]:
    """Yield Deployments that set their replicas although a ScaledObject does."""
    scaled = {
        (item.origin, item.manifest["spec"]["scaleTargetRef"]["name"]) for item in items if item.kind == "ScaledObject"
    }
    for item in items:
        target = (item.origin, item.manifest["metadata"].get("name"))
        if item.kind == "Deployment" and target in scaled and "replicas" in item.manifest["spec"]:
            yield Finding("rules", "replicas", item.kind, item.name, "replicas are set beside a ScaledObject")


def pod_of(manifest: Manifest) -> Manifest:
    """Return the pod that a workload describes; empty for what is none."""
    spec: Manifest = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return spec if "containers" in spec else {}


def containers(manifest: Manifest) -> list[Manifest]:
    """Return all containers of a workload."""
    pod = pod_of(manifest)
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def values_of(value: Any, names: set[str]) -> Iterator[Any]:
    """Yield the values of all keys in `names`, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in names:
                yield item
            yield from values_of(item, names)
    elif isinstance(value, list):
        for item in value:
            yield from values_of(item, names)
