"""Links to objects in the output bucket that work for anybody until they expire.

They are what boto3's `generate_presigned_url` makes. That builds and checks a whole call of AWS first, which takes
longer than signing it; here only the key changes from link to link.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from urllib.parse import quote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

from api.aws import Clients


class Signer:
    """Signs links that are valid for so many seconds; a link stays the same for a tenth of that time.

    Browsers know its picture then. Safe to share between threads.
    """

    def __init__(self, clients: Clients, bucket: str, valid_seconds: int) -> None:
        self._clients = clients
        self._bucket = bucket
        self._valid_seconds = valid_seconds
        self._remembered = lru_cache(maxsize=4096)(self._sign)

    def link(self, key: str) -> tuple[str, datetime]:
        """Return a link to the object with an S3 key, and when it expires."""
        return self._remembered(key, int(time.monotonic() // (self._valid_seconds / 10)))

    def _sign(self, key: str, _period: int) -> tuple[str, datetime]:
        expires_at = datetime.now(UTC) + timedelta(seconds=self._valid_seconds)
        if self._clients.credentials is None:
            raise NoCredentialsError
        # Those of a role are other ones from time to time.
        credentials = self._clients.credentials.get_frozen_credentials()
        region = self._clients.s3.meta.region_name
        request = AWSRequest("GET", self._folder + quote(key, safe="/~"))
        S3SigV4QueryAuth(credentials, "s3", region, expires=self._valid_seconds).add_auth(request)
        return str(request.url), expires_at

    @cached_property
    def _folder(self) -> str:
        """The URL of the bucket, of which boto3 knows the host."""
        link = self._clients.s3.generate_presigned_url("get_object", Params={"Bucket": self._bucket, "Key": "-"})
        return link.partition("?")[0].removesuffix("-")
