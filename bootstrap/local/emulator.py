"""The AWS emulator, MiniStack: the SQS, SNS and S3 protocols on a loopback port, in an environment of its own.

It is an endpoint behind one switch: everything else is told `AWS_ENDPOINT_URL` and knows nothing of it.
"""

import os
from pathlib import Path

# The emulator checks none of these; the SDK wants some.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
SERVICES = "sqs,sns,s3"
# Answers 200 when the emulator is up.
HEALTH = "/_ministack/health"


def command(environment: Path) -> list[str]:
    """Return the command line of the emulator installed in the virtual `environment`.

    Raises:
        FileNotFoundError: There is no such environment.
    """
    python = environment / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{environment} does not exist: `make {environment.name}/bin/.installed` makes it")
    return [str(python), "-m", "ministack"]


def environ(port: int, account_id: str, region: str, folder: Path) -> dict[str, str]:
    """Return the emulator's environment: loopback only, nothing kept, only the services that are used."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SERVICES": SERVICES,
        "LOG_LEVEL": "WARNING",
        "MINISTACK_ACCOUNT_ID": account_id,
        "AWS_DEFAULT_REGION": region,
        **CREDENTIALS,
    }


def client_environ(port: int, region: str) -> dict[str, str]:
    """Return what points the AWS SDK at the emulator."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        # Nobody's own settings leak in.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **CREDENTIALS,
    }
