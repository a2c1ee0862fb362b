"""How what is made for an InferenceAPI is called in AWS."""

from apps.crossplane.aws.owner import Manifest, Owner


def owner_of(api: Manifest) -> Owner:
    """Return the claim as the owner of what is made for it."""
    metadata, spec = api["metadata"], api["spec"]
    return Owner(metadata["name"], metadata["namespace"], spec["region"], spec["accountId"], spec.get("tags", {}))


def topic_name(owner: Owner, purpose: str) -> str:
    """Return the name of the topic for `purpose`: `input` or `output`."""
    return f"{owner.name}-{purpose}"


def topic_arn(owner: Owner, purpose: str) -> str:
    """Return the ARN of the topic for `purpose`, known before the topic is there."""
    return owner.arn("sns", topic_name(owner, purpose))


def bucket_name(owner: Owner, purpose: str) -> str:
    """Return the name of the bucket for `purpose`, `outputs` or `config`; account and region make it unique."""
    return f"{owner.name}-{purpose}-{owner.account_id}-{owner.region}"


def webhook_secret_name(owner: Owner) -> str:
    """Return the name of the secret that webhooks are signed with."""
    return f"{owner.name}-webhooks"
