"""The AWS provider's part: managed resources (`*.aws.m.upbound.io`) are made true by calls to AWS or an emulator.

Every function takes a manifest to the state it asks for, whatever is there already, and returns `status.atProvider`.
"""

import json
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import ClientError

Manifest = dict[str, Any]

# Services whose resources are not made here, by the first part of their API groups, with what there is in their place.
# They stand around the service and nothing here waits for them, so they count as ready.
NOT_RUN: dict[str, str] = {
    "apigateway": "API Gateway (the job API listens itself, and asks for no key)",
    "cloudcontrol": "X-Ray and Secrets Manager (nothing is traced; webhooks are signed with a secret of this demo)",
    "cloudwatch": "alarms (nobody is woken)",
    "cloudwatchevents": "the schedule of reconciliation (the job API does it itself)",
    "cloudwatchlogs": "CloudWatch Logs (logs are files)",
    "eks": "pod identity (processes have no roles)",
    "iam": "IAM (everybody may do everything)",
    "lambda": "Lambda (the job API is a process)",
}

Lookup = Callable[[str, str], Manifest | None]


class NotAppliedError(Exception):
    """AWS refuses, perhaps because of something that does not exist yet."""


class Provider:
    """Makes and deletes managed resources.

    Args:
        session: Where credentials and region come from.
        endpoint_url: Where AWS is, if not where it always is.
        lookup: Returns the `status.atProvider` of the managed resource of a kind and name, for references; None when
            there is none yet.
    """

    def __init__(self, session: boto3.Session, endpoint_url: str | None, lookup: Lookup) -> None:
        # Manifests are as untyped as these.
        self._sns: Any = session.client("sns", endpoint_url=endpoint_url)
        self._sqs: Any = session.client("sqs", endpoint_url=endpoint_url)
        self._s3: Any = session.client("s3", endpoint_url=endpoint_url)
        self._region = session.region_name
        self._lookup = lookup
        self._apply: dict[str, Callable[[str, Manifest], Manifest]] = {
            "Bucket": self._bucket,
            "BucketCorsConfiguration": self._bucket_cors,
            "BucketLifecycleConfiguration": self._bucket_lifecycle,
            "BucketObject": self._bucket_object,
            "BucketOwnershipControls": self._bucket_ownership,
            "BucketPolicy": self._bucket_policy,
            "BucketPublicAccessBlock": self._bucket_public_access,
            "BucketServerSideEncryptionConfiguration": self._bucket_encryption,
            "Queue": self._queue,
            "QueuePolicy": self._queue_policy,
            "Topic": self._topic,
            "TopicPolicy": self._topic_policy,
            "TopicSubscription": self._subscription,
        }
        # What is not listed goes away with the thing that it is a part of.
        self._delete: dict[str, Callable[[Manifest, Manifest], Any]] = {
            "Bucket": self._delete_bucket,
            "BucketObject": lambda spec, _: self._s3.delete_object(Bucket=spec["bucket"], Key=spec["key"]),
            "Queue": lambda _, status: self._sqs.delete_queue(QueueUrl=status["url"]),
            "Topic": lambda _, status: self._sns.delete_topic(TopicArn=status["arn"]),
            "TopicSubscription": lambda _, status: self._sns.unsubscribe(SubscriptionArn=status["arn"]),
        }

    def apply(self, manifest: Manifest) -> Manifest:
        """Make `manifest` true and return its `status.atProvider`.

        Raises:
            NotAppliedError: It cannot be made now; try again when something else has been made.
        """
        if service(manifest) in NOT_RUN:
            return {}
        kind = manifest["kind"]
        if kind not in self._apply:
            raise NotAppliedError(f"{manifest['apiVersion']} {kind} cannot be made here")
        annotations = manifest["metadata"].get("annotations", {})
        name = annotations.get("crossplane.io/external-name", manifest["metadata"]["name"])
        try:
            return self._apply[kind](name, manifest["spec"]["forProvider"])
        except ClientError as error:
            raise NotAppliedError(f"{kind} {name}: {error}") from error

    def delete(self, manifest: Manifest) -> None:
        """Delete what `manifest` made, unless its management policies keep it."""
        if service(manifest) in NOT_RUN:
            return
        allowed = {"*", "Delete"} & set(manifest["spec"].get("managementPolicies", ["*"]))
        delete = self._delete.get(manifest["kind"])
        if allowed and delete:
            delete(manifest["spec"]["forProvider"], manifest.get("status", {}).get("atProvider", {}))

    def _topic(self, name: str, spec: Manifest) -> Manifest:
        arn = self._sns.create_topic(Name=name)["TopicArn"]
        names = {
            "kmsMasterKeyId": "KmsMasterKeyId",
            "signatureVersion": "SignatureVersion",
            "tracingConfig": "TracingConfig",
        }
        for attribute, value in _attributes(spec, names).items():
            self._sns.set_topic_attributes(TopicArn=arn, AttributeName=attribute, AttributeValue=value)
        return {"arn": arn}

    def _topic_policy(self, _: str, spec: Manifest) -> Manifest:
        arn = self._referred("Topic", spec["arnRef"]["name"])["arn"]
        self._sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=spec["policy"])
        return {"arn": arn}

    def _subscription(self, _: str, spec: Manifest) -> Manifest:
        attributes = _attributes(
            spec,
            {
                "filterPolicyScope": "FilterPolicyScope",
                "filterPolicy": "FilterPolicy",
                "rawMessageDelivery": "RawMessageDelivery",
            },
        )
        where = {"TopicArn": spec["topicArn"], "Protocol": spec["protocol"], "Endpoint": spec["endpoint"]}
        for page in self._sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=spec["topicArn"]):
            for found in page["Subscriptions"]:
                if found["Endpoint"] == spec["endpoint"]:
                    arn = found["SubscriptionArn"]
                    for name, value in attributes.items():
                        self._sns.set_subscription_attributes(
                            SubscriptionArn=arn, AttributeName=name, AttributeValue=value
                        )
                    return {"arn": arn}
        return {
            "arn": self._sns.subscribe(**where, Attributes=attributes, ReturnSubscriptionArn=True)["SubscriptionArn"]
        }

    def _queue(self, _: str, spec: Manifest) -> Manifest:
        attributes = _attributes(
            spec,
            {
                "visibilityTimeoutSeconds": "VisibilityTimeout",
                "messageRetentionSeconds": "MessageRetentionPeriod",
                "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
                "redrivePolicy": "RedrivePolicy",
                "redriveAllowPolicy": "RedriveAllowPolicy",
                "sqsManagedSseEnabled": "SqsManagedSseEnabled",
            },
        )
        try:
            url = self._sqs.get_queue_url(QueueName=spec["name"])["QueueUrl"]
        except self._sqs.exceptions.QueueDoesNotExist:
            url = self._sqs.create_queue(QueueName=spec["name"])["QueueUrl"]
        self._sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
        arn = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return {"url": url, "arn": arn}

    def _queue_policy(self, _: str, spec: Manifest) -> Manifest:
        url = self._referred("Queue", spec["queueUrlRef"]["name"])["url"]
        self._sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": spec["policy"]})
        return {"queueUrl": url}

    def _referred(self, kind: str, name: str) -> Manifest:
        found = self._lookup(kind, name)
        if found is None:
            raise NotAppliedError(f"{kind} {name}, which is referred to, does not exist")
        return found

    def _bucket(self, name: str, _: Manifest) -> Manifest:
        try:
            self._s3.head_bucket(Bucket=name)
        except ClientError:
            # us-east-1 is where a bucket goes without being told, and cannot be told.
            place = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
            self._s3.create_bucket(Bucket=name, **({} if self._region == "us-east-1" else place))
        return {"id": name}

    def _bucket_public_access(self, _: str, spec: Manifest) -> Manifest:
        names = ["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"]
        settings = {_capitalized(name): spec[name] for name in names}
        self._s3.put_public_access_block(Bucket=spec["bucket"], PublicAccessBlockConfiguration=settings)
        return {}

    def _bucket_ownership(self, _: str, spec: Manifest) -> Manifest:
        rules = [{"ObjectOwnership": spec["rule"]["objectOwnership"]}]
        self._s3.put_bucket_ownership_controls(Bucket=spec["bucket"], OwnershipControls={"Rules": rules})
        return {}

    def _bucket_encryption(self, _: str, spec: Manifest) -> Manifest:
        rules = [
            {
                "ApplyServerSideEncryptionByDefault": {
                    "SSEAlgorithm": rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"]
                }
            }
            for rule in spec["rule"]
        ]
        self._s3.put_bucket_encryption(Bucket=spec["bucket"], ServerSideEncryptionConfiguration={"Rules": rules})
        return {}

    def _bucket_policy(self, _: str, spec: Manifest) -> Manifest:
        self._s3.put_bucket_policy(Bucket=spec["bucket"], Policy=spec["policy"])
        return {}

    def _bucket_lifecycle(self, _: str, spec: Manifest) -> Manifest:
        rules = []
        for rule in spec["rule"]:
            made = {"ID": rule["id"], "Status": rule["status"], "Filter": {"Prefix": rule["filter"][0]["prefix"]}}
            if half := rule.get("abortIncompleteMultipartUpload"):
                made["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": int(half[0]["daysAfterInitiation"])}
            if expiration := rule.get("expiration"):
                made["Expiration"] = {"Days": int(expiration[0]["days"])}
            rules.append(made)
        self._s3.put_bucket_lifecycle_configuration(Bucket=spec["bucket"], LifecycleConfiguration={"Rules": rules})
        return {}

    def _bucket_cors(self, _: str, spec: Manifest) -> Manifest:
        rules = [{_capitalized(name): value for name, value in rule.items()} for rule in spec["corsRule"]]
        self._s3.put_bucket_cors(Bucket=spec["bucket"], CORSConfiguration={"CORSRules": rules})
        return {}

    def _bucket_object(self, _: str, spec: Manifest) -> Manifest:
        put = self._s3.put_object(
            Bucket=spec["bucket"], Key=spec["key"], Body=spec["content"].encode(), ContentType=spec["contentType"]
        )
        return {"etag": put["ETag"]}

    def _delete_bucket(self, spec: Manifest, status: Manifest) -> None:
        if spec.get("forceDestroy"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=status["id"]):
                for item in page.get("Contents", []):
                    self._s3.delete_object(Bucket=status["id"], Key=item["Key"])
        self._s3.delete_bucket(Bucket=status["id"])


def service(manifest: Manifest) -> str:
    """Return the service of AWS that a managed resource is of, as its API group says."""
    name, _, _ = str(manifest["apiVersion"]).partition(".")
    return name


def _attributes(spec: Manifest, names: dict[str, str]) -> dict[str, str]:
    """Return what SQS and SNS call attributes: strings, under their own names."""
    given = {ours: spec[theirs] for theirs, ours in names.items() if theirs in spec}
    return {name: value if isinstance(value, str) else _text(value) for name, value in given.items()}


def _text(value: Any) -> str:
    # The function SDK carries numbers as doubles; SQS wants whole seconds.
    return str(int(value)) if isinstance(value, float) else json.dumps(value)


def _capitalized(name: str) -> str:
    return name[0].upper() + name[1:]
