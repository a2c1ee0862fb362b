import argparse

import uvicorn
from pydantic import ValidationError

from api import log
from api.app import create_app
from api.aws import connect
from api.settings import Settings


def main() -> None:
    """Serve the API until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve the job API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        parser.error("; ".join(f"{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()))
    log.configure()
    app = create_app(settings, connect())
    # Requests are logged by the application, which leaves out what clients send.
    uvicorn.run(
        app, host=arguments.host, port=arguments.port, access_log=False, log_level="warning", server_header=False
    )


if __name__ == "__main__":
    main()
