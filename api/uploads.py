"""`POST /v1/uploads`: inputs that are larger than a request may be go straight to the bucket."""

import mimetypes
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.aws import Clients
from api.problem import responses
from api.submission import new_id
from contract import keys

MIB = 1024 * 1024
# What agents take of a job's inputs by default.
MAX_BYTES = 64 * MIB
VALID_SECONDS = 900


class UploadRequest(BaseModel):
    """A file that a client wants to use as an input."""

    model_config = ConfigDict(extra="forbid")

    content_type: Annotated[str, Field(pattern=r"^(image|video|audio)/[a-z0-9][a-z0-9.+-]{0,63}$")] = Field(
        description="Its media type.", examples=["image/png"]
    )
    size: Annotated[int, Field(ge=1, le=MAX_BYTES)] = Field(description="Its length in bytes.")


class Upload(BaseModel):
    """Where to put the file: the request to make, and what the file is called afterwards."""

    method: Literal["PUT"] = "PUT"
    url: str = Field(description="Valid for this one file, whoever has it.")
    headers: dict[str, str] = Field(description="To be sent with it, exactly; the length is sent by every client.")
    s3: str = Field(description="What a job calls it, wherever its input takes an image's URL.")
    expires_at: datetime


def router(clients: Clients, bucket: str) -> APIRouter:
    """Return the route that hands out presigned requests: no call to AWS."""
    routes = APIRouter(prefix="/v1", tags=["v1"])

    @routes.post("/uploads", status_code=201, responses=responses(400, 413, 422, 503))
    def create_upload(asked: UploadRequest) -> Upload:
        """Get a presigned request that uploads an input: a PUT of exactly the named type and length."""
        now = datetime.now(UTC)
        extension = mimetypes.guess_extension(asked.content_type) or ""
        key = f"{keys.UPLOADS}/{new_id(now)}{extension}"
        url = clients.s3.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": bucket,
                "Key": key,
                "ContentType": asked.content_type,
                "ContentLength": asked.size,
            },
            ExpiresIn=VALID_SECONDS,
        )
        return Upload(
            url=url,
            headers={"Content-Type": asked.content_type},
            s3=keys.url(bucket, key),
            expires_at=now + timedelta(seconds=VALID_SECONDS),
        )

    return routes
