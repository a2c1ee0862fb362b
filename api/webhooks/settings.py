from pathlib import Path

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the deliverer of webhooks is told by its environment; a field's name in capitals is its variable.

    Attributes:
        s3_output_bucket: The bucket of pictures and job records.
        webhook_queue_url: The queue that gets the notices of jobs that named a webhook.
        webhook_secrets: What webhooks are signed with, and while it is replaced the one before, too.
        webhook_secrets_file: A file with the same.
        webhook_secret_id: Name or ARN of a secret in Secrets Manager with the same.
        webhook_timeout_seconds: How long one delivery may take, from the connection to the answer.
        webhook_allow_private: Whether `http` and addresses that are not on the Internet are allowed, too: for tests,
            and for one machine.
        webhook_threads: How many deliveries there are at once.
        webhook_wait_seconds: How long one look into the queue waits for something: what a stop may take.
        presign_seconds: How long a link to a picture is valid (on Lambda never longer than its role's credentials).
    """

    model_config = SettingsConfigDict(frozen=True)

    s3_output_bucket: str
    webhook_queue_url: str
    webhook_secrets: str | None = None
    webhook_secrets_file: Path | None = None
    webhook_secret_id: str | None = None
    webhook_timeout_seconds: float = 15
    webhook_allow_private: bool = False
    webhook_threads: int = 32
    webhook_wait_seconds: int = 5
    presign_seconds: int = 3600

    @model_validator(mode="after")
    def _one_source(self) -> "Settings":
        given = [it for it in (self.webhook_secrets, self.webhook_secrets_file, self.webhook_secret_id) if it]
        if len(given) != 1:
            raise ValueError("set one of WEBHOOK_SECRETS, WEBHOOK_SECRETS_FILE and WEBHOOK_SECRET_ID")
        return self
