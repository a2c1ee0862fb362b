import argparse
import threading

import uvicorn
from pydantic import ValidationError

from api import log
from api.app import create_app
from api.aws import connect
from api.service import assemble
from api.settings import Settings


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
    if arguments.command == "reconcile":
        fates = assemble(settings, connect()).reconciler.run()
        parser.exit(1 if "failed" in fates else 0)
    serve(settings, arguments.host, arguments.port)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve, and reconcile beside it, until told to stop."""
    clients = connect()
    stop = threading.Event()
    if settings.reconcile_seconds:
        reconciler = assemble(settings, clients).reconciler
        threading.Thread(target=reconciler.run_every, args=(settings.reconcile_seconds, stop), daemon=True).start()
    # Requests are logged by the application, which leaves out what clients send.
    uvicorn.run(
        create_app(settings, clients),
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        server_header=False,
    )
    stop.set()


if __name__ == "__main__":
    main()
