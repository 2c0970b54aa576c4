"""`python -m app`: the API server. Refuses to start where others would reach it without a key."""

import argparse
import sys

import uvicorn

from app import allocator
from app.access import CannotServe, check_host, check_keys
from app.connection import Connection
from app.settings import Settings
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
    settings = Settings()
    engine = engines.create(settings.database_url.get_secret_value())
    try:
        check_host(settings, options.host)
        check_keys(settings, engine)
    except CannotServe as refusal:
        sys.exit(str(refusal))
    engine.dispose()
    uvicorn.run(
        "app.main:create",
        factory=True,
        host=options.host,
        port=options.port,
        http=Connection,
        ws="none",
        timeout_graceful_shutdown=options.grace,
    )


if __name__ == "__main__":
    main()
