"""The buckets: one for pictures and job records, one for the routing table."""

from apps.crossplane.apis.inferenceapi.names import bucket_name
from apps.crossplane.aws.owner import KEPT, Manifest, Owner
from apps.crossplane.aws.policy import only_over_tls, policy

# A job's record is a folder of jobs/, and index/ lists the records: contract/keys.py.
RECORDS = ("jobs/", "index/")
UPLOADS = "uploads/"
# Notes of what the job API has not published yet: it gives up after the 14 days that a queue keeps a job.
OUTBOX, OUTBOX_DAYS = "outbox/", 30


def output_bucket(owner: Owner, outputs: Manifest) -> dict[str, Manifest]:
    """Return the bucket of pictures and job records; unless the claim says so, deleting the claim leaves it.

    Args:
        outputs: The claim's `spec.outputs`.
    """
    delete = outputs["deletionPolicy"] == "Delete"
    made = bucket(owner, "outputs", lifecycle(outputs), force_destroy=delete)
    if origins := outputs["corsAllowedOrigins"]:
        # A presigned link is all that a page needs; without one it may ask from wherever it likes, in vain.
        rule = {
            "allowedMethods": ["GET", "HEAD", "PUT"],
            "allowedHeaders": ["*"],
            "allowedOrigins": origins,
            "exposeHeaders": ["ETag"],
        }
        settings = {"bucket": bucket_name(owner, "outputs"), "corsRule": [rule]}
        made["outputs-cors"] = owner.managed("s3", "BucketCorsConfiguration", "outputs", settings)
    if not delete:
        # The bucket, and what protects the pictures in it.
        for manifest in made.values():
            manifest["spec"]["managementPolicies"] = KEPT
    return made


def lifecycle(outputs: Manifest) -> list[Manifest]:
    """Return the rules by which objects of the output bucket expire; where two concern one, S3 takes the earlier."""
    rules = [half_uploads(), expiry("uploads", UPLOADS, outputs["uploadRetentionDays"])]
    rules.append(expiry("outbox", OUTBOX, OUTBOX_DAYS))
    if days := outputs.get("retentionDays"):
        rules.append(expiry("retention", "", days))
    if days := outputs.get("recordRetentionDays"):
        rules += [expiry(f"retention-{prefix.rstrip('/')}", prefix, days) for prefix in RECORDS]
    return rules


def config_bucket(owner: Owner, routing_table: str | None) -> dict[str, Manifest]:
    """Return the bucket that tells the job API which runtimes there are.

    It is not the output bucket, because what runtimes may write must not decide where jobs go, and because the output
    bucket's objects expire.
    """
    made = bucket(owner, "config", [half_uploads()], force_destroy=True)
    if routing_table is not None:
        settings = {
            "bucket": bucket_name(owner, "config"),
            "key": "runtimes.json",
            "content": routing_table,
            "contentType": "application/json",
        }
        made["runtimes"] = owner.managed("s3", "BucketObject", "runtimes", settings)
    return made


def bucket(owner: Owner, purpose: str, rules: list[Manifest], *, force_destroy: bool) -> dict[str, Manifest]:
    """Return a bucket with everything that guards it, and the rules of its lifecycle."""
    name = bucket_name(owner, purpose)
    arn = owner.bucket_arn(name)

    def part(kind: str, settings: Manifest) -> Manifest:
        return owner.managed("s3", kind, purpose, {"bucket": name, **settings})

    return {
        f"{purpose}-bucket": owner.managed(
            "s3", "Bucket", purpose, {"forceDestroy": force_destroy}, external_name=name
        ),
        f"{purpose}-ownership": part("BucketOwnershipControls", {"rule": {"objectOwnership": "BucketOwnerEnforced"}}),
        f"{purpose}-public-access": part(
            "BucketPublicAccessBlock",
            dict.fromkeys(["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"], True),
        ),
        f"{purpose}-encryption": part(
            "BucketServerSideEncryptionConfiguration",
            {"rule": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
        ),
        f"{purpose}-policy": part("BucketPolicy", {"policy": policy(only_over_tls("s3:*", arn, f"{arn}/*"))}),
        f"{purpose}-lifecycle": part("BucketLifecycleConfiguration", {"rule": rules}),
    }


def expiry(name: str, prefix: str, days: int) -> Manifest:
    """Return the lifecycle rule that removes objects, whose keys start with `prefix`, after `days`."""
    return {
        "id": name,
        "status": "Enabled",
        "filter": [{"prefix": prefix}],
        "expiration": [{"days": days}],
    }


def half_uploads() -> Manifest:
    """Return the lifecycle rule that removes uploads which nobody finished."""
    return {
        "id": "half-uploads",
        "status": "Enabled",
        "filter": [{"prefix": ""}],
        "abortIncompleteMultipartUpload": [{"daysAfterInitiation": 1}],
    }
