"""`python -m migrations "what changes"`: write the next revision from the models, for a developer to read over."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from app.store import migrate
from app.store.engine import create


def main() -> None:
    """Compare the models with a fresh database at the newest revision."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'fresh.sqlite'}"
        migrate.upgrade(url)
        with create(url).connect() as connection, connection.begin():
            config = migrate.config(connection)
            newest = ScriptDirectory.from_config(config).get_current_head() or "0000"
            command.revision(config, sys.argv[1], autogenerate=True, rev_id=f"{int(newest) + 1:04}")


if __name__ == "__main__":
    main()
