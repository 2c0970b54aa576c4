"""One line a log entry: JSON where a program reads it, aligned text on a terminal.

An entry carries the ids of what it is about: `request_id` in the API, `worker`, `job` and `attempt` in a worker.
"""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from app.keytext import redact
from app.settings import LogSettings, load

_everywhere: dict[str, str] = {}


def identify(**ids: str) -> None:
    """Put ids into every entry of this process, from now on and in all threads."""
    _everywhere.update(ids)


def _add_identity(_logger: object, _method: str, entry: EventDict) -> EventDict:
    return {**_everywhere, **entry}


SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    _add_identity,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _redact(_logger: object, _method: str, line: Any) -> str:
    """The finished line without the secrets of keys, wherever in it somebody has put one."""
    return redact(str(line))


def configure() -> None:
    """Send the program's own log entries and those of the libraries to stderr. Raises `SettingsInvalid`."""
    settings = load(LogSettings)
    as_text = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    text = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    renderer: Processor = text if as_text else structlog.processors.JSONRenderer()
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
            *([] if as_text else [structlog.processors.format_exc_info]),
            renderer,
            _redact,
        ],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=settings.level.upper(), force=True)
    # Else Python writes them past the log.
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        # Each request is logged once, with its id, by the program itself.
        server.propagate = name != "uvicorn.access"
    for name in ("httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
