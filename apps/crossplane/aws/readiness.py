"""What is not ready yet, in words."""

from apps.crossplane.aws.owner import Manifest

# A condition's message is for people, who read no more than this many.
TOLD_AT_MOST = 5


def is_ready(observed: dict[str, Manifest], key: str) -> bool:
    """Return whether the observed resource `key` says that it is ready."""
    return _condition(observed.get(key, {}), "Ready").get("status") == "True"


def waiting(desired: dict[str, Manifest], observed: dict[str, Manifest]) -> str:
    """Return which resources are waited for and why, as far as they say; empty when there are none."""
    # What has no conditions, such as a ConfigMap, is ready when it is there.
    late = [
        (key, manifest)
        for key, manifest in desired.items()
        if not is_ready(observed, key) and not (key in observed and "upbound.io" not in manifest["apiVersion"])
    ]
    if not late:
        return ""
    told = "; ".join(_reason(manifest, observed.get(key, {})) for key, manifest in late[:TOLD_AT_MOST])
    more = f"; and {len(late) - TOLD_AT_MOST} more" if len(late) > TOLD_AT_MOST else ""
    return f"{len(late)} of {len(desired)} resources are not ready: {told}{more}"


def _reason(manifest: Manifest, found: Manifest) -> str:
    synced = _condition(found, "Synced")
    why = synced.get("message") if synced.get("status") == "False" else None
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    return f"{name}: {why}" if why else name


def _condition(manifest: Manifest, kind: str) -> dict[str, str]:
    conditions: list[dict[str, str]] = manifest.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == kind), {})
