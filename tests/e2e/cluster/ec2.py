"""AWS as Karpenter asks it: moto, with its catalogue of EC2's instance types, and the few answers that moto lacks.

`python -m tests.e2e.cluster.ec2` serves it. No instance is launched here: Karpenter's own simulation keeps those.
"""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

from tests.e2e.cluster.components import ACCOUNT
from tests.e2e.cluster.places import STATE
from tools.install import CONTROL_PLANE

Message = dict[str, Any]
Environ = dict[str, Any]
Start = Callable[..., Any]
Application = Callable[[Environ, Start], Iterable[bytes]]

PORT = 4567
KUBERNETES = ".".join(CONTROL_PLANE["k8s"].version.removeprefix("v").split(".")[:2])
# Bottlerocket's images by the parameters of Systems Manager that name them: one for GPUs, one for all else.
IMAGES = {
    f"/aws/service/bottlerocket/aws-k8s-{KUBERNETES}{variant}/x86_64/latest/image_id": {
        "ami_id": f"ami-{number:017x}",
        "name": f"bottlerocket-aws-k8s-{KUBERNETES}{variant}-x86_64-v1.53.0-00000000",
        "architecture": "x86_64",
        "creation_date": "2026-01-01T00:00:00.000Z",
    }
    for number, variant in enumerate(("", "-nvidia"), 1)
}
# US dollars an hour for Linux in us-east-1. What has no price here has one of those that Karpenter came with.
PRICES = {"g4dn.xlarge": 0.526, "g5.xlarge": 1.006, "g5.2xlarge": 1.212, "g6.xlarge": 0.8048}


def main() -> None:
    """Serve until told to stop."""
    images = STATE / "images.json"
    images.write_text(json.dumps(list(IMAGES.values())))
    os.environ |= {"MOTO_AMIS_PATH": str(images), "MOTO_ACCOUNT_ID": ACCOUNT}
    # It reads those settings when it is imported.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    application = with_answers(DomainDispatcherApplication(create_backend_app))
    run_simple("0.0.0.0", PORT, application, threaded=True)


def with_answers(aws: Application) -> Application:
    """Return an application that answers for prices and parameters itself, and lets `aws` answer the rest."""

    def application(environ: Environ, start: Start) -> Iterable[bytes]:
        request = Request(environ)
        answer = ANSWERS.get(request.headers.get("X-Amz-Target", ""))
        if answer is None:
            return aws(environ, start)
        status, said = answer(request.get_json(force=True))
        return Response(json.dumps(said), status, content_type="application/x-amz-json-1.1")(environ, start)

    return application


def _get_products(_: Message) -> tuple[int, Message]:
    return 200, {"FormatVersion": "aws_v1", "PriceList": [json.dumps(_product(*price)) for price in PRICES.items()]}


def _product(instance_type: str, dollars: float) -> Message:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": str(dollars)}}
    return {
        "product": {"attributes": {"instanceType": instance_type}},
        "terms": {"OnDemand": {"term": {"priceDimensions": {"hourly": dimension}}}},
    }


def _get_parameter(message: Message) -> tuple[int, Message]:
    name = message["Name"]
    if name not in IMAGES:
        return 400, {"__type": "ParameterNotFound", "message": f"there is no {name}"}
    return 200, {"Parameter": {"Name": name, "Type": "String", "Version": 1, "Value": IMAGES[name]["ami_id"]}}


ANSWERS: dict[str, Callable[[Message], tuple[int, Message]]] = {
    "AWSPriceListService.GetProducts": _get_products,
    "AmazonSSM.GetParameter": _get_parameter,
}

if __name__ == "__main__":
    main()
