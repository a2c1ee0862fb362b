"""What Crossplane makes in AWS for add-ons: Karpenter's queue with the events that it hears, and the dashboard."""

import json
from typing import Any

from generator import dashboard, names
from generator.model import Config

Manifest = dict[str, Any]

# What is about to happen to nodes, by the names of the rules. https://karpenter.sh/docs/concepts/disruption/
EVENTS = {
    "health": ("aws.health", "AWS Health Event"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
}
# A node that is taken away is gone in two minutes: older news is none.
RETENTION_SECONDS = 300

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-reference.html
LOG_GROUPS = ("application", "dataplane", "host", "performance")

# Managed resources come before the pods that need them.
QUEUE_WAVE, RULES_WAVE = "-2", "-1"


def files(config: Config, add_on: str) -> dict[str, Manifest]:
    """Return the managed resources of an add-on by the names of their files; most have none."""
    if add_on == "karpenter":
        return karpenter(config)
    if add_on == "observability":
        return observability(config)
    return {}


def observability(config: Config) -> dict[str, Manifest]:
    """Return the dashboard, and the groups of logs: the agents would make them, too, and keep their lines for ever."""
    settings = {"dashboardBody": json.dumps(dashboard.body(config), indent=1)}
    made = {"dashboard": _managed(config, "cloudwatch", "Dashboard", config.stack_name, settings, "0")}
    for group in LOG_GROUPS:
        retention = {"retentionInDays": config.cluster.api.log_retention_days}
        manifest = _managed(config, "cloudwatchlogs", "Group", group, retention, "-1")
        external_name = f"/aws/containerinsights/{config.cluster_name}/{group}"
        manifest["metadata"]["annotations"]["crossplane.io/external-name"] = external_name
        made[f"group-{group}"] = _tagged(config, manifest)
    return made


def karpenter(config: Config) -> dict[str, Manifest]:
    """Return the queue, who may write to it, and what EventBridge writes."""
    name = names.INTERRUPTION_QUEUE.name(config.stack_name)
    cluster = config.cluster
    start = f"arn:{cluster.partition}:{{}}:{cluster.region}:{cluster.account_id}:"
    arn = f"{start.format('sqs')}{name}"
    rules = {event: f"{config.stack_name}-karpenter-{event}" for event in EVENTS}
    allowed = [
        {
            "Sid": "Events",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": ["sqs:SendMessage"],
            "Resource": [arn],
            "Condition": {
                "ArnEquals": {"aws:SourceArn": [f"{start.format('events')}rule/{rule}" for rule in rules.values()]}
            },
        },
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": [arn],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
    queue = {"name": name, "messageRetentionSeconds": RETENTION_SECONDS, "sqsManagedSseEnabled": True}
    policy = {"queueUrlRef": {"name": name}, "policy": json.dumps({"Version": "2012-10-17", "Statement": allowed})}
    made = {
        "queue": _tagged(config, _managed(config, "sqs", "Queue", name, queue, QUEUE_WAVE)),
        "queuepolicy": _managed(config, "sqs", "QueuePolicy", name, policy, RULES_WAVE),
    }
    for event, (source, detail_type) in EVENTS.items():
        pattern = json.dumps({"source": [source], "detail-type": [detail_type]})
        rule = {"description": f"{detail_type}, for Karpenter.", "eventBusName": "default", "eventPattern": pattern}
        target = {
            "ruleRef": {"name": rules[event]},
            "eventBusName": "default",
            "targetId": "karpenter",
            "arn": arn,
        }
        rule_manifest = _managed(config, "cloudwatchevents", "Rule", rules[event], rule, RULES_WAVE)
        rule_manifest["metadata"]["annotations"]["crossplane.io/external-name"] = rules[event]
        made[f"rule-{event}"] = _tagged(config, rule_manifest)
        made[f"target-{event}"] = _managed(config, "cloudwatchevents", "Target", rules[event], target, RULES_WAVE)
    return made


def _tagged(config: Config, manifest: Manifest) -> Manifest:
    if config.cluster.tags:
        manifest["spec"]["forProvider"]["tags"] = config.cluster.tags
    return manifest


def _managed(config: Config, service: str, kind: str, name: str, settings: Manifest, wave: str) -> Manifest:
    namespace = {"cloudwatch": "amazon-cloudwatch", "cloudwatchlogs": "amazon-cloudwatch"}.get(service, "karpenter")
    return {
        "apiVersion": f"{service}.aws.m.upbound.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "annotations": {"argocd.argoproj.io/sync-wave": wave}},
        "spec": {"forProvider": {"region": config.cluster.region, **settings}},
    }
