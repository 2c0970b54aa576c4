"""One line a log entry: JSON where a program reads it, aligned text on a terminal."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import Processor

from app.keytext import redact

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _redact(_logger: object, _method: str, line: Any) -> str:
    """The finished line without the secrets of keys, wherever in it somebody has put one."""
    return redact(str(line))


def configure() -> None:
    """Send the program's own log entries and those of the libraries to stderr."""
    on_terminal = sys.stderr.isatty()
    renderer: Processor = structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([] if on_terminal else [structlog.processors.format_exc_info]),
            renderer,
            _redact,
        ],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        # Each request is logged once, with its id, by the program itself.
        server.propagate = name != "uvicorn.access"
    logging.getLogger("httpx").setLevel(logging.WARNING)
