"""How what is made for an InferenceRuntime is called: forms that generator/names.py has, too, for chart and limits."""

from apps.crossplane.aws.owner import Manifest, Owner
from apps.crossplane.aws.role import role_name


def owner_of(runtime: Manifest, api: Manifest) -> Owner:
    """Return the claim as the owner of what is made for it, which is where its InferenceAPI is."""
    metadata, place = runtime["metadata"], api["spec"]
    return Owner(metadata["name"], metadata["namespace"], place["region"], place["accountId"], place.get("tags", {}))


def queue_name(api_name: str, runtime_name: str) -> str:
    """Return the name in AWS of a runtime's queue; the API's name starts it, so that clusters share an account.

    No Kubernetes name has an underscore, so no two runtimes of whatever names share a queue.
    """
    return f"{api_name}_{runtime_name}"


def dead_letter_queue_name(api_name: str, runtime_name: str) -> str:
    """Return the name in AWS of a runtime's dead-letter queue."""
    return f"{queue_name(api_name, runtime_name)}_dead-letter"


def pod_role_name(api_name: str, runtime_name: str, region: str) -> str:
    """Return the name of the role of a runtime's pods; IAM has one list of names for all regions."""
    return role_name(queue_name(api_name, runtime_name), "_", region)


def config_map_name(runtime_name: str) -> str:
    """Return the name of a runtime's ConfigMap, which the chart mounts."""
    return f"{runtime_name}-inference"


def service_account_name(runtime_name: str) -> str:
    """Return the name of the service account of a runtime's pods, which the chart makes."""
    return f"{runtime_name}-inference"
