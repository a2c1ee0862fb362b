"""The deliverer of webhooks as its environment describes it."""

from collections.abc import Callable
from functools import cache

from api import log
from api import settings as api_settings
from api.aws import connect
from api.service import assemble
from api.webhooks.delivery import Deliveries
from api.webhooks.event import parse_secrets
from api.webhooks.settings import Settings
from api.webhooks.worker import Worker

# A new secret is used this soon.
_SECRET_SECONDS = 300


def secrets(settings: Settings) -> Callable[[], list[str]]:
    """Return where the signing secrets come from; they may be replaced while we run."""

    def read() -> list[str]:
        if settings.webhook_secret_id:
            from aws_lambda_powertools.utilities.parameters import get_secret

            text = str(get_secret(settings.webhook_secret_id, max_age=_SECRET_SECONDS))
        elif settings.webhook_secrets_file:
            text = settings.webhook_secrets_file.read_text(encoding="utf-8")
        else:
            text = settings.webhook_secrets or ""
        return parse_secrets(text)

    return read


@cache
def worker() -> Worker:
    """Return the worker, made once for each process.

    Raises:
        ValidationError: The environment lacks something.
        InvalidSecretError, OSError: There is no secret to sign with.
    """
    log.configure()
    settings = Settings()
    clients = connect()
    read = secrets(settings)
    read()
    deliveries = Deliveries(
        clients,
        # Nothing is routed or published here.
        assemble(
            api_settings.Settings(
                sns_topic_arn="",
                s3_output_bucket=settings.s3_output_bucket,
                runtimes_bucket="",
                presign_seconds=settings.presign_seconds,
            ),
            clients,
        ),
        read,
        timeout_s=settings.webhook_timeout_seconds,
        allow_private=settings.webhook_allow_private,
    )
    return Worker(
        clients.sqs,
        settings.webhook_queue_url,
        deliveries,
        threads=settings.webhook_threads,
        wait_seconds=settings.webhook_wait_seconds,
    )
