"""`python -m worker.health [prediction]`: whether the worker on this host lives, for a container's health check."""

import socket
import sys

from redis import Redis

from app.questions import ALIVE_ON
from app.settings import Settings, load
from app.store import engine, workers


def main(kind: str) -> int:
    """0 while a worker of this host lives: the database says so of trainings, the broker of predictions."""
    settings, host = load(Settings), socket.gethostname()
    if kind == "prediction":
        with Redis.from_url(settings.broker_url.get_secret_value(), socket_timeout=5.0) as broker:
            return 0 if broker.exists(ALIVE_ON.format(host=host)) else 1
    database = engine.create(settings.database_url.get_secret_value())
    with engine.read(database) as session:
        found = workers.all_of_them(session)
    return 0 if any(alive and worker.host == host for worker, alive in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "training"))
