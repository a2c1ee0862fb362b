from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from contract import keys

MIB = 1024 * 1024


class Settings(BaseSettings):
    """What the API is told by its environment; a field's name in capitals is its variable.

    The first two are the names of the guidance's Lambda. Region, credentials and endpoint are boto3's own `AWS_*`.

    Attributes:
        sns_topic_arn: The topic that jobs are published to.
        s3_output_bucket: The bucket of pictures and job records.
        runtimes_bucket: The bucket of the routing table.
        runtimes_key: The routing table's key.
        runtimes_refresh_seconds: How old the routing table may get.
        presign_seconds: How long a link to a picture is valid (on Lambda never longer than its role's credentials).
        reconcile_seconds: How often the server looks for jobs that were recorded and not published; 0: never.
        reconcile_grace_seconds: How long a request may take before it is taken for dead.
        body_seconds: How long a request may take to arrive.
        max_body_bytes: The largest request accepted; the default is what Lambda could take.
        api_keys_file: The API keys that are let in; none on AWS, where API Gateway knows them, nor where all may ask.
        cors_allowed_origins: Whose pages may ask from a browser, parted by commas: `https://shop.example.com`, or `*`.
    """

    model_config = SettingsConfigDict(frozen=True)

    sns_topic_arn: str
    s3_output_bucket: str
    runtimes_bucket: str
    runtimes_key: str = keys.RUNTIMES
    runtimes_refresh_seconds: float = 10
    presign_seconds: int = 3600
    reconcile_seconds: float = 60
    reconcile_grace_seconds: float = 60
    body_seconds: float = 30
    max_body_bytes: int = 6 * MIB
    api_keys_file: Path | None = None
    cors_allowed_origins: str = ""

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may ask from a browser."""
        return [origin.strip() for origin in self.cors_allowed_origins.split(",") if origin.strip()]
