from pathlib import Path

from pydantic import model_validator

from api import settings


class Settings(settings.Settings):
    """What the deliverer of webhooks is told by its environment: what the API is, and this.

    Attributes:
        webhook_queue_url: The queue that gets the notices of jobs that named a webhook.
        webhook_secrets: What webhooks are signed with: `whsec_…`, and while it is replaced the one before, too.
        webhook_secrets_file: A file with the same.
        webhook_secrets_arn: A secret in Secrets Manager with the same.
        webhook_timeout_seconds: How long one delivery may take, from the connection to the answer.
        webhook_allow_private: Whether `http` and addresses that are not on the Internet are allowed, too: for tests,
            and for one machine.
        webhook_threads: How many deliveries there are at once.
    """

    webhook_queue_url: str
    webhook_secrets: str | None = None
    webhook_secrets_file: Path | None = None
    webhook_secrets_arn: str | None = None
    webhook_timeout_seconds: float = 15
    webhook_allow_private: bool = False
    webhook_threads: int = 32

    @model_validator(mode="after")
    def _one_source(self) -> "Settings":
        given = [it for it in (self.webhook_secrets, self.webhook_secrets_file, self.webhook_secrets_arn) if it]
        if len(given) != 1:
            raise ValueError("set one of WEBHOOK_SECRETS, WEBHOOK_SECRETS_FILE and WEBHOOK_SECRETS_ARN")
        return self
