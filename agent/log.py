"""Logs: one JSON object a line, on standard output.

The keys are `event level timestamp` and, where they apply, `job key runtime task status attempt code reason seconds
delay_s images message model thread`. Prompts, contents of messages and query strings of URLs are never logged.
"""

import logging

import structlog


def configure(level: str) -> None:
    """Set up logging for the process; `level` is the name of the least level that is shown."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=False,
    )
