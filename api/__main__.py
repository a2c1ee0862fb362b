import argparse
import socket
import threading
from contextlib import suppress

import uvicorn
from botocore.exceptions import NoRegionError
from fastapi import FastAPI
from pydantic import ValidationError

from api import log
from api.app import create_app
from api.aws import connect
from api.keys import InvalidKeysError
from api.service import Service, assemble
from api.settings import Settings
from api.waiting import Waiting


def main() -> None:
    """Serve the API until it is stopped, or reconcile once."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve the job API.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", "reconcile"],
        default="serve",
        help="reconcile: publish what was recorded and not published, and end",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        parser.error("; ".join(f"{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()))
    log.configure()
    try:
        clients = connect()
    except NoRegionError:
        parser.error("AWS_DEFAULT_REGION: the region is missing")
    if arguments.command == "reconcile":
        fates = assemble(settings, clients).reconciler.run()
        parser.exit(1 if "failed" in fates else 0)
    try:
        app = create_app(settings, clients)
    except InvalidKeysError as error:
        parser.error(f"API_KEYS_FILE: {error}")
    serve(app, arguments.host, arguments.port, settings.reconcile_seconds)


class Server(uvicorn.Server):
    """A server that lets nobody wait for the end of a job while it stops."""

    def __init__(self, config: uvicorn.Config, waiting: Waiting) -> None:
        super().__init__(config)
        self._waiting = waiting

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, and stop."""
        self._waiting.end()
        await super().shutdown(sockets)


def serve(app: FastAPI, host: str, port: int, reconcile_seconds: float) -> None:
    """Serve, and reconcile beside it, until told to stop.

    Args:
        reconcile_seconds: How often to reconcile; 0: never.
    """
    service: Service = app.state.service
    stop = threading.Event()
    if reconcile_seconds:
        run_every = service.reconciler.run_every
        threading.Thread(target=run_every, args=(reconcile_seconds, stop), daemon=True).start()
    # Requests are logged by the application, which leaves out what clients send.
    config = uvicorn.Config(app, host=host, port=port, access_log=False, log_level="warning", server_header=False)
    with suppress(KeyboardInterrupt):
        Server(config, service.waiting).run()
    stop.set()


if __name__ == "__main__":
    main()
