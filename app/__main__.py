"""`python -m app`: the API server. Refuses to start where others would reach it without a key."""

import argparse
import sys

import uvicorn

from app import allocator, logs
from app.access import CannotServe, check_host, check_keys
from app.connection import Connection
from app.settings import Settings, SettingsInvalid, load
from app.store import engine as engines

GRACE_SECONDS = 5


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m app", description="Run the API server.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8400, help="the port")
    parser.add_argument("--grace", type=int, default=GRACE_SECONDS, help="seconds for requests in hand at the end")
    options = parser.parse_args()
    allocator.limit_arenas()
    try:
        _check(options.host)
    except (CannotServe, SettingsInvalid) as refusal:
        sys.exit(str(refusal))
    uvicorn.run(
        "app.main:create",
        factory=True,
        host=options.host,
        port=options.port,
        http=Connection,
        ws="none",
        timeout_graceful_shutdown=options.grace,
    )


def _check(host: str) -> None:
    """What would stop each process of the server stops it before there are any."""
    logs.configure()
    settings = load(Settings)
    check_host(settings, host)
    engine = engines.create(settings.database_url.get_secret_value())
    check_keys(settings, engine)
    engine.dispose()


if __name__ == "__main__":
    main()
