"""What people do with a cluster once it is there."""

import json

from bootstrap.eks.target import Target
from generator import names


def relative(target: Target) -> str:
    """Return the kubeconfig as people write it in the repository's root."""
    return target.kubeconfig.relative_to(target.repository).as_posix()


def look(target: Target) -> str:
    """Return the command that shows the Applications."""
    return f"kubectl --kubeconfig {relative(target)} -n {names.ARGOCD_NAMESPACE} get applications"


def next_steps(target: Target) -> list[str]:
    """Return what to do with the cluster, once everything is there."""
    name = names.INFERENCE_API.name(target.config.stack_name)
    api = target.object("inferenceapis.darkroom.dev", name, names.PLATFORM_NAMESPACE) or {}
    url, key = (api.get("status", {}).get(field, "") for field in ("url", "apiKeyCommand"))
    if not url:
        return [f"The job API has no address yet. Look with `{look(target)}`."]
    runtime = next((item for item in target.config.runtimes.values() if item.type == "sdwebui"), None)
    body = json.dumps({"runtime": runtime.name if runtime else "…", "input": {"prompt": "a red circle"}})
    headers = "-H \"x-api-key: $key\" -H 'content-type: application/json'"
    return [
        f"The job API: {url}",
        f"Its first key: export KUBECONFIG={relative(target)}; key=$({key})",
        f"A picture: curl {headers} -d '{body}' {url.rstrip('/')}/v1/jobs",
        f"Argo CD: kubectl -n {names.ARGOCD_NAMESPACE} port-forward service/argocd-server 8080:80",
    ]
