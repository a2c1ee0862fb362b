"""Clients of the guidance, against the whole service: what they post, are answered, find in S3, and are told."""

import io
import json
import re
import time
from collections.abc import Callable
from typing import Any

import requests
from PIL import Image

from tests.bootstrap.conftest import Demo
from tests.conftest import ACCOUNT_ID, REGION


def test_the_guidance_s_requests_make_the_objects_and_notices_that_its_clients_wait_for(
    run: Callable[..., Demo],
) -> None:
    demo = run()
    demo.wait_for("^image: ")
    s3, sns, sqs = (demo.aws.client(service) for service in ("s3", "sns", "sqs"))
    bucket = f"darkroom-local-outputs-{ACCOUNT_ID}-{REGION}"
    notices = sqs.create_queue(QueueName="notices")["QueueUrl"]
    sns.subscribe(
        TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:darkroom-local-output",
        Protocol="sqs",
        Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:notices",
        Attributes={"RawMessageDelivery": "true"},
    )
    picture = io.BytesIO()
    Image.new("RGB", (128, 128), "red").save(picture, "PNG")
    s3.put_object(Bucket=bucket, Key="inputs/red.png", Body=picture.getvalue())

    def scripts(task: str, job: str, **more: str) -> dict[str, Any]:
        return {"task": task, "id_task": job, "sd_model_checkpoint": "tiny-shapes.safetensors", **more}

    def metadata(task: str, job: str) -> dict[str, Any]:
        return {"id": job, "runtime": "tiny", "tasktype": task, "prefix": "output", "context": {"user": job}}

    drawing = {"prompt": "a red circle", "steps": 4, "width": 128, "height": 128}
    link = f"s3://{bucket}/inputs/red.png"
    requested = {
        "": {**drawing, "alwayson_scripts": scripts("text-to-image", "seed-t2i")},
        "v1alpha1": {
            **drawing,
            "alwayson_scripts": scripts("image-to-image", "a1-i2i", image_link=link, save_dir="outputs"),
        },
        "v1alpha2": {
            "task": {
                "metadata": metadata("extra-single-image", "a2-extra"),
                "content": {"image": link, "upscaling_resize": 2, "upscaler_1": "Lanczos"},
            }
        },
    }
    answers = {
        path: requests.post(f"{demo.api}/{path}", json=body, timeout=10).json() for path, body in requested.items()
    }
    assert answers == {
        "": {
            "id_task": "seed-t2i",
            "task": "text-to-image",
            "sd_model_checkpoint": "tiny-shapes.safetensors",
            "output_location": f"s3://{bucket}/seed-t2i",
        },
        "v1alpha1": {
            "id_task": "a1-i2i",
            "sd_model_checkpoint": "tiny-shapes.safetensors",
            "output_location": f"s3://{bucket}/outputs/a1-i2i",
        },
        "v1alpha2": {"id": "a2-extra", "runtime": "tiny", "output_location": f"s3://{bucket}/output/a2-extra"},
    }

    told: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + 60
    while len(told) < 3 and time.monotonic() < deadline:
        for message in sqs.receive_message(QueueUrl=notices, WaitTimeSeconds=1).get("Messages", []):
            notice = json.loads(message["Body"])
            told[notice.get("id") or notice["parameters"]["id_task"]] = notice
            sqs.delete_message(QueueUrl=notices, ReceiptHandle=message["ReceiptHandle"])

    oldest = told["seed-t2i"]["parameters"]
    assert (oldest["status"], oldest["error_msg"], oldest["image_mask_url"]) == (1, "", "")
    assert re.fullmatch(rf"s3://{bucket}/seed-t2i/seed-t2i-[0-9a-f]{{4}}-1\.png", oldest["image_url"])
    for job, folder in (("a1-i2i", "outputs"), ("a2-extra", "output")):
        notice = told[job]
        assert (notice["result"], notice["runtime"], notice["status"]) == (True, "tiny", "completed")
        assert re.fullmatch(rf"s3://{bucket}/{folder}/{job}/{job}-[0-9a-f]{{4}}-1\.png", notice["image_url"][0])
        assert re.fullmatch(rf"s3://{bucket}/{folder}/{job}/{job}-[0-9a-f]{{4}}\.out", notice["output_url"])
    assert told["a2-extra"]["context"] == {"user": "a2-extra"}

    def stored(url: str) -> bytes:
        found: bytes = s3.get_object(Bucket=bucket, Key=url.removeprefix(f"s3://{bucket}/"))["Body"].read()
        return found

    assert Image.open(io.BytesIO(stored(told["a2-extra"]["image_url"][0]))).size == (256, 256)
    assert json.loads(stored(f"s3://{bucket}/seed-t2i/response.out")) == told["seed-t2i"]
    document = json.loads(stored(told["a1-i2i"]["output_url"]))
    assert document["parameters"]["id_task"] == "a1-i2i"
    assert document["parameters"]["prompt"] == "a red circle"
    assert requests.get(f"{demo.api}/v1/jobs/a1-i2i", timeout=10).json()["status"] == "succeeded"
