import logging
import os
from collections.abc import MutableMapping
from typing import Any

import structlog


def configure() -> None:
    """Log one JSON object a line to standard output."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_trace,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def add_trace(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the id of the X-Ray trace, which Lambda puts into the environment of each call."""
    fields = dict(field.partition("=")[::2] for field in os.environ.get("_X_AMZN_TRACE_ID", "").split(";"))
    if root := fields.get("Root"):
        line["trace"] = root
    return line
