"""The topics: jobs come in by one, news of their ends go out by the other."""

import json

from apps.crossplane.apis.inferenceapi.names import topic_arn, topic_name
from apps.crossplane.aws.owner import Manifest, Owner
from apps.crossplane.aws.policy import only_over_tls, policy

# AWS's own key: everybody in the account who may use the topic may use it. Services of AWS may not, and none publishes
# here; those who subscribe are sent what has been decrypted.
TOPIC_KEY = "alias/aws/sns"


def topics(owner: Owner, *, traced: bool) -> dict[str, Manifest]:
    """Return both topics with their policies and, where SNS writes traces, its permission to do so."""
    made: dict[str, Manifest] = {}
    for purpose in ("input", "output"):
        settings = {
            "kmsMasterKeyId": TOPIC_KEY,
            "signatureVersion": 2,
            "tracingConfig": "Active" if traced else "PassThrough",
        }
        made[f"{purpose}-topic"] = owner.managed(
            "sns", "Topic", purpose, settings, external_name=topic_name(owner, purpose)
        )
        # Who may publish and subscribe is for the roles of this account to say. SNS takes no sns:* in a topic's policy.
        guard = policy(only_over_tls("sns:Publish", topic_arn(owner, purpose)))
        made[f"{purpose}-topic-policy"] = owner.managed(
            "sns", "TopicPolicy", purpose, {"arnRef": owner.reference(purpose), "policy": guard}
        )
    return made | ({"topics-trace": traces_of_topics(owner)} if traced else {})


def traces_of_topics(owner: Owner) -> Manifest:
    """Return what lets SNS write the traces of our topics, without which it silently writes none.

    The provider has no kind for X-Ray's policies, and AWS's Cloud Control API has. An account has five of them in each
    region. https://docs.aws.amazon.com/sns/latest/dg/sns-active-tracing.html
    """
    statement = {
        "Sid": "Topics",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": ["xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:PutTraceSegments"],
        "Resource": "*",
        "Condition": {
            "ArnLike": {"aws:SourceArn": [topic_arn(owner, purpose) for purpose in ("input", "output")]},
            "StringEquals": {"aws:SourceAccount": owner.account_id},
        },
    }
    state = {"PolicyName": f"{owner.name}-sns", "PolicyDocument": policy(statement)}
    settings = {"typeName": "AWS::XRay::ResourcePolicy", "desiredState": json.dumps(state, sort_keys=True)}
    return owner.managed("cloudcontrol", "Resource", "topics-trace", settings)
