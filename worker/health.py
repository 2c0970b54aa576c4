"""`python -m worker.health`: whether the worker on this host lives, for a container's health check."""

import socket
import sys

from app.settings import Settings
from app.store import engine, workers


def main() -> int:
    """0 while a worker of this host has a fresh heartbeat in the database."""
    database = engine.create(Settings().database_url.get_secret_value())
    with engine.read(database) as session:
        found = workers.all_of_them(session)
    return 0 if any(alive and worker.host == socket.gethostname() for worker, alive in found) else 1


if __name__ == "__main__":
    sys.exit(main())
