"""Logs: one JSON object a line, on standard output.

The keys are `event level timestamp` and, where they apply, `job key runtime task status attempt code reason seconds
delay_s images message model thread trace`; lines of libraries have `logger`. Prompts, contents of messages and query
strings of URLs are never logged.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# The end of a URL that may hold a secret, as in presigned ones.
_QUERY = re.compile(r"\?[^\s'\"<>]+")


def configure(level: str) -> None:
    """Set up logging for the process; `level` is the name of the least level that is shown."""
    written: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    as_json = structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[*written, as_json],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=False,
    )
    # Libraries log by the standard library, urllib3 with the addresses that it asks.
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *written],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_queries, as_json],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _without_queries(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _QUERY.sub("?…", value) if isinstance(value, str) else value for key, value in event.items()}
