"""Deliver webhooks until stopped."""

import argparse
import signal
import threading

from pydantic import ValidationError

from api.webhooks.event import InvalidSecretError
from api.webhooks.wiring import worker


def main() -> None:
    """Deliver until SIGTERM or SIGINT; what is being delivered then is finished."""
    parser = argparse.ArgumentParser(prog="python -m api.webhooks", description=__doc__)
    parser.parse_args()
    try:
        made = worker()
    except ValidationError as error:
        told = ((".".join(map(str, each["loc"])).upper(), each["msg"]) for each in error.errors())
        parser.error("; ".join(f"{name}: {problem}" if name else problem for name, problem in told))
    except (InvalidSecretError, OSError) as error:
        parser.error(str(error))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    made.run(stop)


if __name__ == "__main__":
    main()
