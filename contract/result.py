"""How a job ended: the result document, and the output document and callback that clients of each form expect."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from contract.job import Form, Task


class Failure(BaseModel):
    """Why a job did not succeed.

    Attributes:
        code: A short name that programs can act on, such as `invalid-job`, `input-not-allowed`, `runtime-error`.
        message: One sentence for people: what is wrong, and how to mend it where that is known.
        detail: What the inference server answered, if it did.
    """

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    detail: Any = None


class Result(BaseModel):
    """The end of a job, written once as `result.json`; everything told to clients is derived from it.

    Attributes:
        images: `s3://` URLs of the pictures that were asked for, in order.
        masks: Those of further ones, such as a grid or a ControlNet map; the guidance's name for them.
        seeds: The seed of each picture, where the inference server told.
        parameters: The inference server's parameters for the pictures, without image data.
        attempt: How many times the job had been received when it ended.
        timings: Seconds by step: `queue`, `fetch`, `inference`, `store`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    key: str
    runtime: str
    task: Task | None = None
    form: Form = Form.V1ALPHA2
    status: Literal["succeeded", "failed", "cancelled", "expired"]
    failure: Failure | None = None
    images: list[str] = []
    masks: list[str] = []
    output_url: str = ""
    seeds: list[int] = []
    parameters: dict[str, Any] = {}
    context: Any = None
    attempt: int = 1
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime
    timings: dict[str, float] = {}

    @property
    def succeeded(self) -> bool:
        """Whether the job has its pictures."""
        return self.status == "succeeded"


def document(result: Result) -> dict[str, Any]:
    """Return the output document (`.out`) in the shape that the guidance's version of the job's form writes."""
    if result.form is Form.SEED:
        return callback(result)
    if result.task is Task.PIPELINE:
        document = {"code": 200 if result.succeeded else 500}
        return document if result.succeeded else document | {"error_msg": _message(result)}
    if result.succeeded:
        seeds = {"image_seed": ",".join(map(str, result.seeds))} if result.seeds else {}
        parameters = result.parameters | {"id_task": result.id} | seeds | {"error_msg": ""}
    else:
        detail = result.failure.detail if result.failure else None
        parameters = {"id_task": result.id, "status": 0, "error_msg": _message(result), "reason": detail}
    return {"images": [""], "parameters": parameters, "info": ""}


def callback(result: Result) -> dict[str, Any]:
    """Return the completion notice: the guidance's first shape for its oldest form, else its newest, a superset."""
    if result.form is Form.SEED:
        parameters = result.parameters | {
            "id_task": result.id,
            "status": int(result.succeeded),
            "image_url": ",".join(result.images),
            "seed": ",".join(map(str, result.seeds)) if result.succeeded else [],
            "error_msg": _message(result),
            "image_mask_url": ",".join(result.masks),
        }
        return {"images": [""], "parameters": parameters, "info": ""}
    notice = {
        "runtime": result.runtime,
        "id": result.id,
        "result": result.succeeded,
        "status": "completed" if result.succeeded else "failed",
        "image_url": [*result.images, *result.masks],
        "output_url": result.output_url,
        "context": result.context,
    }
    return notice if result.succeeded else notice | {"reason": result.status, "error_msg": _message(result)}


def attributes(result: Result, *, webhook: bool = False) -> dict[str, str]:
    """Return the SNS attributes of the notice, for filters: `runtime`, `status`, `id`, and where the result is.

    Args:
        webhook: Whether the job named a webhook; the notices of those that did are delivered to it.
    """
    told = {
        "runtime": result.runtime,
        "status": "completed" if result.succeeded else "failed",
        "id": result.id,
        "key": result.key,
    }
    return told | {"webhook": "true"} if webhook else told


def _message(result: Result) -> str:
    return result.failure.message if result.failure else ""
