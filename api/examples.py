"""Examples for the OpenAPI document: of each schema, and of each of the guidance's forms."""

from typing import Any

_INPUT = {"prompt": "a red circle on a blue background", "steps": 20, "width": 512, "height": 512}
_ACCEPTED_AT, _STARTED_AT, _FINISHED_AT = (f"2026-11-24T12:00:0{second}Z" for second in (0, 1, 4))
_LINKS = {"self": "/v1/jobs/my-first"}

_DONE: dict[str, Any] = {
    "id": "my-first",
    "runtime": "tiny",
    "task": "text-to-image",
    "status": "succeeded",
    "output_location": "s3://darkroom-outputs-123456789012-us-east-1/output/my-first",
    "created_at": _ACCEPTED_AT,
    "started_at": _STARTED_AT,
    "finished_at": _FINISHED_AT,
    "images": [
        {
            "url": "https://darkroom-outputs-123456789012-us-east-1.s3.amazonaws.com/output/my-first/0001.png?…",
            "s3": "s3://darkroom-outputs-123456789012-us-east-1/output/my-first/0001.png",
            "expires_at": "2026-11-24T13:00:04Z",
        }
    ],
    "seeds": [42],
    "timings": {"queue": 1.0, "fetch": 0.0, "inference": 2.9, "store": 0.1},
    "context": {"order": 7},
    "links": _LINKS,
}

BY_SCHEMA: dict[str, Any] = {
    "Submission": {"id": "my-first", "runtime": "tiny", "input": _INPUT, "context": {"order": 7}},
    "Accepted": {
        "id": "my-first",
        "runtime": "tiny",
        "status": "queued",
        "output_location": "s3://darkroom-outputs-123456789012-us-east-1/output/my-first",
        "created_at": _ACCEPTED_AT,
        "links": _LINKS,
    },
    "JobState": _DONE,
    "JobList": {"jobs": [_DONE], "cursor": None},
    "JobEvent": {"type": "job.succeeded", "timestamp": _FINISHED_AT, "data": _DONE},
    "UploadRequest": {"content_type": "image/png", "size": 1048576},
    "Upload": {
        "method": "PUT",
        "url": "https://darkroom-outputs-123456789012-us-east-1.s3.amazonaws.com/uploads/01kaxyz.png?…",
        "headers": {"Content-Type": "image/png"},
        "s3": "s3://darkroom-outputs-123456789012-us-east-1/uploads/01kaxyz.png",
        "expires_at": "2026-11-24T12:15:00Z",
    },
    "Runtimes": {
        "runtimes": [
            {
                "name": "tiny",
                "type": "sdwebui",
                "model": "tiny.safetensors",
                "tasks": ["extra-batch-images", "extra-single-image", "image-to-image", "text-to-image"],
            }
        ]
    },
    "Problem": {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "id: the id must be 1 to 128 letters, digits, '.', '_' or '-'",
        "errors": [
            {
                "path": "id",
                "message": "the id must be 1 to 128 letters, digits, '.', '_' or '-'",
                "pointer": "#/id",
            }
        ],
    },
}

_HEADER = {"task": "text-to-image", "sd_model_checkpoint": "tiny.safetensors", "id_task": "1"}
BY_OPERATION: dict[str, Any] = {
    "seed": {"alwayson_scripts": _HEADER, **_INPUT},
    "v1alpha1": {"alwayson_scripts": {**_HEADER, "save_dir": "outputs"}, **_INPUT},
    "v1alpha2": {
        "task": {
            "metadata": {
                "id": "1",
                "runtime": "tiny",
                "tasktype": "text-to-image",
                "prefix": "output",
                "context": {},
            },
            "content": _INPUT,
        }
    },
}
