"""`python -m webui.tiny`: serves Stable Diffusion Web UI's API on the CPU."""

import argparse
import os
import sys
from pathlib import Path

# Products this small gain nothing from a second thread, and lose tenfold where another process wants its core.
# Numpy reads this once, when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvicorn

from webui.tiny.library import SHIPPED, Library, UnknownModelError
from webui.tiny.server import create_app

SHUTDOWN_SECONDS = 10
"""How long a picture in the making keeps the server from stopping."""


def main() -> int:
    """Serves until stopped. Returns 2 when there is no such model."""
    parser = argparse.ArgumentParser(prog="python -m webui.tiny", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--models",
        type=Path,
        default=Path(os.environ.get("MODELS_DIR") or SHIPPED),
        help="folder of checkpoints (default: $MODELS_DIR, else the shipped one); $SD_MODEL_CHECKPOINT names the first",
    )
    options = parser.parse_args()
    try:
        library = Library(options.models, os.environ.get("SD_MODEL_CHECKPOINT"))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    except UnknownModelError as error:
        names = ", ".join(sorted(path.name for path in options.models.glob("*.safetensors")))
        print(f"SD_MODEL_CHECKPOINT: {error}; {options.models} has {names}", file=sys.stderr)
        return 2
    library.use(library.current)
    uvicorn.run(create_app(library), host=options.host, port=options.port, timeout_graceful_shutdown=SHUTDOWN_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
