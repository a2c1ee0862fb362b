"""The service as its users meet it: the job API in the cluster, and what it leaves in AWS."""

import json
from typing import Any

import boto3
import requests
import yaml

from tests.e2e.cluster.components import ACCOUNT, REGION
from tests.e2e.cluster.places import EMULATOR_PORT, NODE
from tests.e2e.cluster.platform import kubectl
from tests.e2e.steps import Manifest, get, items, until

STACK = "darkroom-e2e"
PORT = 8000


class Service:
    """The job API, in a pod instead of a function of Lambda, and AWS behind it."""

    def __init__(self) -> None:
        emulator: Any = {
            "endpoint_url": f"http://{NODE}:{EMULATOR_PORT}",
            "region_name": REGION,
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }
        # Answers of the emulator are as untyped as manifests.
        self._sqs: Any = boto3.client("sqs", **emulator)
        self._sns: Any = boto3.client("sns", **emulator)
        self.url = _start_job_api()
        self._notices: list[str] = []
        self._queue = self._listen()
        until("job API answers", self._answers)

    def submit(self, runtime: str, **parameters: object) -> str:
        """Ask for a picture, and return the job's id."""
        body = {"runtime": runtime, "input": {"width": 256, "height": 256, "steps": 20, **parameters}}
        answer = requests.post(f"{self.url}/v1/jobs", json=body, timeout=10)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def state(self, job: str) -> dict[str, Any]:
        """Return a job as the API tells it."""
        answer = requests.get(f"{self.url}/v1/jobs/{job}", timeout=10)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def picture(self, job: str) -> bytes:
        """Return the first picture of a job."""
        answer = requests.get(self.state(job)["images"][0]["url"], timeout=10)
        answer.raise_for_status()
        return answer.content

    def runtimes(self) -> set[str]:
        """Return the runtimes that the API routes to."""
        answer = requests.get(f"{self.url}/v1/runtimes", timeout=10).json()
        return {it["name"] for it in answer["runtimes"]}

    def callbacks(self) -> list[str]:
        """Return the jobs whose end was told on the output topic, each as often as it was."""
        while True:
            answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                notice = json.loads(json.loads(message["Body"])["Message"])
                self._notices.append(notice["id"])
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
            if not answer.get("Messages"):
                return list(self._notices)

    def queues(self) -> set[str]:
        """Return the runtimes that have a queue."""
        urls = self._sqs.list_queues(QueueNamePrefix=f"{STACK}_").get("QueueUrls", [])
        names = {url.rpartition(f"{STACK}_")[2] for url in urls}
        return {name for name in names if not name.endswith("_dead-letter")}

    def subscribed(self) -> set[str]:
        """Return the runtimes whose queues get jobs."""
        return {arn.rpartition(f"{STACK}_")[2] for arn in self._subscriptions()}

    def unsubscribe(self, runtime: str) -> None:
        """Remove a runtime's subscription, behind everybody's back."""
        (arn,) = (arn for queue, arn in self._subscriptions().items() if queue.endswith(f"_{runtime}"))
        self._sns.unsubscribe(SubscriptionArn=arn)

    def _subscriptions(self) -> dict[str, str]:
        """Return the subscriptions of the topic of jobs, by the queues' ARNs."""
        pages = self._sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=_topic("input"))
        return {it["Endpoint"]: it["SubscriptionArn"] for page in pages for it in page["Subscriptions"]}

    def _listen(self) -> str:
        """Return the URL of a queue that gets what the output topic says."""
        url: str = self._sqs.create_queue(QueueName="callbacks")["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:callbacks"
        self._sns.subscribe(TopicArn=_topic("output"), Protocol="sqs", Endpoint=arn)
        return url

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False


def _topic(purpose: str) -> str:
    claim = get("inferenceapi", STACK, "--namespace=darkroom")
    assert claim
    return str(claim["status"][f"{purpose}TopicArn"])


def _start_job_api() -> str:
    """Start the image of the composed function as a pod, with the function's own environment, and return its URL."""
    (function,) = (
        it for it in items("functions.lambda.aws.m.upbound.io", "-A") if it["metadata"]["name"].endswith("api")
    )
    asked: Manifest = function["spec"]["forProvider"]
    environment = [{"name": name, "value": value} for name, value in asked["environment"]["variables"].items()]
    labels = {"app": "job-api"}
    container = {
        "name": "api",
        "image": asked["imageUri"],
        "command": ["python", "-m", "api", "--host", "0.0.0.0", "--port", str(PORT)],
        "env": environment,
        # Servers that draw take all that is left of the machine.
        "resources": {"requests": {"cpu": "500m"}},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "job-api", "namespace": "darkroom"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "job-api", "namespace": "darkroom"},
        "spec": {"selector": labels, "ports": [{"port": PORT}]},
    }
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all([deployment, service]))
    made = get("service", "job-api", "--namespace=darkroom")
    assert made
    return f"http://{made['spec']['clusterIP']}:{PORT}"
