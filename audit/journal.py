"""A process's own log lines: JSON on standard error, one object a line.

Not to be taken for the record: these lines help whoever runs the process, prove nothing, and hold
nothing about patients.
"""

import logging
import sys

import structlog


def start_journal() -> None:
    """Send structlog's lines, and the warnings of libraries, to standard error as JSON."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format='{"event": "%(message)s", "logger": "%(name)s", "level": "%(levelname)s"}',
    )
