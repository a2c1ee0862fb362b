"""What a runtime's pods are told, and what they may do."""

from apps.crossplane.apis.inferenceruntime.names import config_map_name, pod_role_name, service_account_name
from apps.crossplane.aws.owner import Manifest, Owner
from apps.crossplane.aws.policy import Statement, allow, assumed_by, trace
from apps.crossplane.aws.role import role


def pod_identity(owner: Owner, runtime: Manifest, api: Manifest, queue_arn: str) -> dict[str, Manifest]:
    """Return the role of the runtime's pods, and what gives it to their service account."""
    name = pod_role_name(api["metadata"]["name"], owner.name, owner.region)
    association = {
        "clusterName": api["spec"]["clusterName"],
        "namespace": owner.namespace,
        "serviceAccount": service_account_name(owner.name),
        "roleArnRef": owner.reference("role"),
    }
    # Only pods of this service account of this cluster, whatever else may be associated with the role.
    session = {
        "StringEquals": {
            "aws:RequestTag/eks-cluster-name": api["spec"]["clusterName"],
            "aws:RequestTag/kubernetes-namespace": owner.namespace,
            "aws:RequestTag/kubernetes-service-account": service_account_name(owner.name),
        }
    }
    trust = assumed_by("pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession", **session)
    return {
        **role(owner, "", name, trust, *statements(owner, runtime["spec"], api["status"], queue_arn)),
        "pod-identity": owner.managed("eks", "PodIdentityAssociation", "pods", association),
    }


def statements(owner: Owner, spec: Manifest, api: Manifest, queue_arn: str) -> list[Statement]:
    """Return what the agent needs: agent/README.md says what for.

    Args:
        spec: The claim's `spec`.
        api: The status of its InferenceAPI.
    """
    bucket = api["bucket"]
    needed = [
        allow(
            "Receive",
            ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
            queue_arn,
        ),
        allow("Notify", ["sns:Publish"], api["outputTopicArn"]),
        allow("Look", ["s3:ListBucket"], owner.bucket_arn(bucket)),
        # Jobs name the folder of their pictures, so it can be any but the one that is for clients alone, and the one
        # whose notes the job API publishes: they hold other runtimes' jobs.
        allow("Store", ["s3:GetObject", "s3:PutObject"], owner.bucket_arn(bucket, "*")),
        {
            "Sid": "OthersUploads",
            "Effect": "Deny",
            "Action": ["s3:PutObject"],
            "Resource": [owner.bucket_arn(bucket, "uploads/*")],
        },
        {
            "Sid": "OthersJobs",
            "Effect": "Deny",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": [owner.bucket_arn(bucket, "outbox/*")],
        },
        trace(),
    ]
    if inputs := spec["inputBuckets"]:
        needed.append(allow("Inputs", ["s3:GetObject"], *(owner.bucket_arn(name, "*") for name in inputs)))
    return needed


def config_map(owner: Owner, spec: Manifest, api: Manifest, url: str) -> Manifest:
    """Return the ConfigMap that the runtime's pods take their environment from, in the guidance's words and ours.

    Args:
        spec: The claim's `spec`.
        api: The status of its InferenceAPI.
        url: The URL of the runtime's queue.
    """
    inputs = {"ALLOWED_INPUT_BUCKETS": ",".join(spec["inputBuckets"])} if spec["inputBuckets"] else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(owner.name), "namespace": owner.namespace},
        "data": {
            "AWS_DEFAULT_REGION": owner.region,
            "MAX_RECEIVE_COUNT": str(int(spec["queue"]["maxReceiveCount"])),
            "RUNTIME_NAME": owner.name,
            "S3_BUCKET": api["bucket"],
            "SNS_TOPIC_ARN": api["outputTopicArn"],
            "SQS_QUEUE_URL": url,
            "VISIBILITY_TIMEOUT_SECONDS": str(int(spec["queue"]["visibilityTimeoutSeconds"])),
            **inputs,
        },
    }
