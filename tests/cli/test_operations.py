"""What operators call: doctor, gc, backup, restore."""

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app import backup, doctor
from app.client import Client
from app.store import attempts, blobs, jobs, logs, migrate, workers
from app.store import engine as engines
from app.store.engine import write
from tests import packs
from tests.cli.conftest import ANNEALER, Run, Up
from tests.servers import S3, Valkey, await_true
from tests.shop import Shop
from tests.specs import document

LONG: dict[str, Any] = {"network": {"kind": "convnet", "channels": [8]}, "epochs": 40}


def run(*arguments: object, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command with nothing of this process' own settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANNEALER_")}
    command = [*ANNEALER, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=90, env=inherited | environment, cwd=cwd, check=False
    )


def checks(done: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, str]]:
    return {found["check"]: found for found in json.loads(done.stdout)["checks"]}


# Doctor.


def test_doctor_finds_a_running_service_well(annealer: Run, up: Up) -> None:
    done = annealer("doctor", "--data", up.folder, "--json")

    assert done.returncode == 0, done.stdout
    states = {name: found["state"] for name, found in checks(done).items()}
    assert states.pop("disk") in ("ok", "warning")
    assert states == dict.fromkeys(("version", "database", "clock", "migrations", "workers", "broker", "devices"), "ok")
    assert json.loads(done.stdout)["ok"] is True


def test_doctor_prints_a_line_a_check_with_the_remedy_below(tmp_path: Path) -> None:
    done = run("doctor", cwd=tmp_path)

    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("problem   database"))
    assert lines[at + 1].strip() == "Set ANNEALER_DATABASE_URL, or name the folder of `annealer up` with --data."


def test_doctor_tells_each_thing_that_is_away_with_its_remedy_and_no_password(tmp_path: Path) -> None:
    done = run(
        *("doctor", "--json"),
        cwd=tmp_path,
        ANNEALER_DATABASE_URL="postgresql+psycopg://annealer:secret@127.0.0.1:1/none",
        ANNEALER_BROKER_URL="redis://:secret@127.0.0.1:1/0",
        ANNEALER_WORKER_DEVICE="cuda",
    )

    found = checks(done)
    assert done.returncode == 1
    assert (found["database"]["state"], found["broker"]["state"]) == ("problem", "problem")
    assert "cannot be reached" in found["database"]["detail"]
    assert found["broker"]["remedy"].startswith("Start it")
    assert "secret" not in done.stdout + done.stderr


def test_doctor_tells_of_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all, but long enough to be read as one" * 100)

    found = checks(run("doctor", "--json", cwd=tmp_path, ANNEALER_DATABASE_URL=f"sqlite:///{tmp_path / 'text'}"))

    assert "file is not a database" in found["database"]["detail"]
    assert found["database"]["remedy"].startswith("Is this the file of a service")


def test_doctor_tells_of_a_database_at_another_version(sqlite_url: str, valkey: Valkey, tmp_path: Path) -> None:
    migrate.downgrade(sqlite_url, "0001")

    done = run("doctor", "--json", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url, ANNEALER_BROKER_URL=valkey.url)

    assert done.returncode == 1
    assert checks(done)["migrations"]["state"] == "problem"
    assert checks(done)["migrations"]["remedy"] == "Run `annealer migrate`."


def test_doctor_tells_of_no_worker_of_a_drained_one_and_of_one_of_another_version(
    sqlite_url: str, tmp_path: Path
) -> None:
    place = doctor.Place(sqlite_url, None, ())

    (none,) = (found for found in doctor.examine(place) if found.check == "workers")
    engine = engines.create(sqlite_url)
    with write(engine) as session:
        workers.beat(session, id="w", host="h", pid=1, device="cpu", slots=2, version="0.0.1", offers={})
    some = [found for found in doctor.examine(place) if found.check == "workers"]
    with write(engine) as session:
        workers.drain(session, "w", is_drained=True)
    engine.dispose()
    (drained,) = (found for found in doctor.examine(place) if found.check == "workers")

    assert (none.state, none.detail) == ("problem", "None is alive: jobs will wait")
    assert (drained.state, drained.detail) == ("warning", "1 alive, all of them drained: jobs will wait")
    assert drained.remedy == "Let one take jobs again: `annealer drain w --undo`."
    assert [(found.state, found.detail) for found in some] == [
        ("ok", "1 alive, 2 slots"),
        ("warning", "Some are of version 0.0.1"),
    ]


@pytest.mark.parametrize(
    ("ahead", "state", "detail"),
    [
        (0.2, "ok", "This clock is 0.2 s ahead of the database's"),
        (-3600.0, "warning", "This clock is 3600.0 s behind the database's"),
    ],
)
def test_doctor_compares_clocks(ahead: float, state: str, detail: str) -> None:
    found = doctor._clock(ahead)

    assert (found.state, found.detail) == (state, detail)
    assert (found.remedy is None) == (state == "ok")


@pytest.mark.parametrize(("free", "state"), [(3 * 1024**3, "ok"), (1024**3, "warning"), (1024**2, "problem")])
def test_doctor_looks_at_the_room_on_the_disk(
    free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(free, 0, free))  # type: ignore[attr-defined]

    found = doctor._disk(tmp_path / "not" / "yet")

    assert found.state == state
    assert "GiB free" in found.detail


@pytest.mark.parametrize(
    ("script", "state", "detail"),
    [
        ('print("{\\"version\\": \\"2.0\\", \\"devices\\": [\\"H100\\"]}")', "ok", "PyTorch 2.0 on H100"),
        ('import sys; sys.exit("libcudart.so: no such file")', "problem", "cannot be used: libcudart.so"),
    ],
)
def test_doctor_asks_torch_in_a_process_of_its_own(script: str, state: str, detail: str) -> None:
    def instead(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-c", script], check=False, **options)

    found = doctor._devices(instead)

    assert found.state == state
    assert detail in found.detail
    assert "torch" not in vars(doctor)


# Garbage collection.


@pytest.fixture
def expired(sqlite_url: str) -> str:
    """A database with a job whose output is over the limit of its age."""
    shop = Shop(engines.create(sqlite_url))
    claim = shop.claimed()
    shop.act(logs.append, claim.job_id, claim.attempt, 60.0, 0, b"x" * 1000, logs.FEWEST_BYTES)
    shop.act(attempts.succeed, claim.job_id, claim.attempt)
    with write(shop.engine) as session:
        job = jobs.get(session, claim.job_id)
        assert job.finished_at is not None
        job.finished_at -= timedelta(days=100)
    shop.engine.dispose()
    return claim.job_id


def test_gc_says_what_would_go_then_does_it(expired: str, sqlite_url: str, tmp_path: Path) -> None:
    asked = run("gc", "--dry-run", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url)
    done = run("gc", "--json", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url)
    again = run("gc", "--dry-run", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url)

    assert asked.returncode == done.returncode == 0, asked.stderr
    assert asked.stdout.splitlines()[0].split() == [expired, "logs", "1,000", "bytes", "would", "go"]
    assert json.loads(done.stdout)["removals"] == [{"job_id": expired, "kind": "logs", "bytes": 1000}]
    assert again.stdout.startswith("0 leftovers of jobs, 0 bytes, would go.")


def test_gc_keeps_to_the_settings(expired: str, sqlite_url: str, tmp_path: Path) -> None:
    done = run("gc", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url, ANNEALER_KEEP_LOGS_DAYS="inf")

    assert done.stdout.startswith("0 leftovers of jobs")


def test_a_setting_that_makes_no_sense_is_named_and_its_value_is_not(sqlite_url: str, tmp_path: Path) -> None:
    broker = {"ANNEALER_DATABASE_URL": sqlite_url, "ANNEALER_BROKER_URL": "redis://127.0.0.1:1/0"}

    gc = run("gc", "--dry-run", cwd=tmp_path, **broker, ANNEALER_KEEP_LOGS_DAYS="0")
    up = run("up", cwd=tmp_path, ANNEALER_METRICS_TOKEN="secret", ANNEALER_BLOBS="ftp://x")

    assert (gc.returncode, gc.stderr) == (2, "ANNEALER_KEEP_LOGS_DAYS should be greater than 0.\n")
    assert up.returncode == 6
    assert "ANNEALER_METRICS_TOKEN should have at least 16 characters." in up.stderr
    assert "ANNEALER_BLOBS is wrong: " in up.stderr
    log = (tmp_path / "annealer-data" / "logs" / "api.log").read_text()
    assert "secret" not in up.stderr + log
    assert "Traceback" not in up.stderr + log


@pytest.mark.parametrize("module", ["app", "worker", "worker.prediction"])
def test_a_program_without_its_settings_says_which(module: str, tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANNEALER_")}

    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, env=inherited, check=False)

    assert done.returncode == 1
    assert done.stderr.endswith("ANNEALER_DATABASE_URL is not set. ANNEALER_BROKER_URL is not set.\n")
    assert "Traceback" not in done.stderr


def test_up_and_migrate_leave_a_newer_database_and_a_file_that_is_none_as_they_are(
    sqlite_url: str, tmp_path: Path
) -> None:
    engine = engines.create(sqlite_url)
    with write(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    newer = run("migrate", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url)
    folder = tmp_path / "annealer-data"
    folder.mkdir()
    (folder / "annealer.sqlite").write_text("not a database at all, but long enough to be read as one" * 100)
    foreign = run("up", cwd=tmp_path)

    assert (newer.returncode, foreign.returncode) == (6, 5)
    assert "at version 9999" in newer.stderr
    assert "upgrade this program" in newer.stderr
    assert "The database cannot be used" in foreign.stderr
    assert "Traceback" not in newer.stderr + foreign.stderr


def test_gc_needs_a_database_that_it_knows(tmp_path: Path, sqlite_url: str) -> None:
    nowhere = run("gc", cwd=tmp_path)
    migrate.downgrade(sqlite_url, "0001")
    older = run("gc", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url)

    assert (nowhere.returncode, older.returncode) == (2, 6)
    assert "ANNEALER_DATABASE_URL" in nowhere.stderr
    assert "annealer migrate" in older.stderr


# Backup and restore.


def test_a_backup_taken_while_jobs_run_restores_to_a_service_in_which_every_job_ends(tmp_path: Path) -> None:
    kept, other = tmp_path / "kept.sqlite", tmp_path / "other"
    pets = tmp_path / "pets.zip"
    pets.write_bytes(packs.zipped(packs.images()))
    with Up(tmp_path) as up, Client(up.url) as client:
        client.make_dataset({"kind": "upload", "upload": client.upload(pets).id}, "pets")
        submitted = [client.submit(document(**LONG)) for _ in range(2)] + [client.submit(document(epochs=2))]
        await_true(lambda: client.dataset("pets").status == "ready", 60)
        await_true(lambda: client.job(submitted[0].id).progress.epoch >= 3, 60)
        made = run("backup", kept, "--data", up.folder, cwd=tmp_path)
        running = client.job(submitted[0].id)
    assert made.returncode == 0, made.stderr
    assert running.status == "running"
    assert made.stdout.startswith(f"{kept}: 4 jobs, ")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    restored = run("restore", kept, "--data", other / "data", cwd=tmp_path)
    assert restored.returncode == 0, restored.stderr
    with Up(other) as up, Client(up.url) as client:
        ends = [list(client.watch(job.id))[-1] for job in submitted]
        # Its images come from the restored database alone: this folder's cache is new.
        on_pets = list(client.watch(client.submit(document(dataset="pets", batch_size=4)).id))[-1]
        kinds = [event.kind for event in client.events(submitted[0].id)]

    assert [end.status for end in [*ends, on_pets]] == ["succeeded"] * 4
    assert {"requeued", "resumed"} <= set(kinds)
    assert [end.progress.epoch for end in ends] == [40, 40, 2]


@pytest.fixture
def kept(up: Up, tmp_path: Path) -> Path:
    """A backup of the running service."""
    path = tmp_path / "kept.sqlite"
    assert run("backup", path, "--data", up.folder, cwd=tmp_path).returncode == 0
    return path


def refusal(*arguments: object, cwd: Path) -> str:
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 6, done.stderr
    assert done.stdout == ""
    assert not list(cwd.rglob("*.partial"))
    return done.stderr


def test_a_backup_overwrites_nothing_and_needs_a_service(kept: Path, up: Up, tmp_path: Path) -> None:
    assert "is there already" in refusal("backup", kept, "--data", up.folder, cwd=tmp_path)
    assert "no database in" in refusal("backup", "new.sqlite", "--data", tmp_path / "empty", cwd=tmp_path)


def test_a_restore_overwrites_nothing_and_disturbs_no_service(kept: Path, up: Up, tmp_path: Path) -> None:
    assert "Annealer is running in" in refusal("restore", kept, "--data", up.folder, cwd=tmp_path)
    assert run("restore", kept, "--data", "new", cwd=tmp_path).returncode == 0
    assert "There is a database in new already" in refusal("restore", kept, "--data", "new", cwd=tmp_path)
    assert httpx.get(f"{up.url}/readyz").is_success


def test_what_is_damaged_foreign_or_newer_is_not_restored(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all, but long enough to be read as one" * 100)
    assert "is no backup of Annealer" in refusal("restore", "text", "--data", "a", cwd=tmp_path)

    with closing(sqlite3.connect(tmp_path / "foreign")) as foreign:
        foreign.execute("CREATE TABLE things (id)")
    assert "is no backup of Annealer" in refusal("restore", "foreign", "--data", "b", cwd=tmp_path)

    broken = bytearray(kept.read_bytes())
    for page in range(4096 * 3, len(broken), 4096):
        broken[page : page + 512] = bytes(index % 251 for index in range(512))
    (tmp_path / "broken").write_bytes(broken)
    assert "broken is " in refusal("restore", "broken", "--data", "c", cwd=tmp_path)

    shutil.copy(kept, tmp_path / "rotten")
    with closing(sqlite3.connect(tmp_path / "rotten")) as rotten, rotten:
        name = hashlib.sha256(b"weights").hexdigest()
        rotten.execute("INSERT INTO blobs (sha256, size, stored_at) VALUES (?, 7, CURRENT_TIMESTAMP)", [name])
        rotten.execute("INSERT INTO blob_chunks VALUES (?, 0, ?)", [name, b"weight?"])
    assert f"rotten is damaged: blob {name}" in refusal("restore", "rotten", "--data", "e", cwd=tmp_path)

    shutil.copy(kept, tmp_path / "newer")
    engine = engines.create(f"sqlite:///{tmp_path / 'newer'}")
    with write(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert "comes from a newer version" in refusal("restore", "newer", "--data", "d", cwd=tmp_path)
    assert not any((tmp_path / folder / "annealer.sqlite").exists() for folder in "abcde")


@pytest.mark.parametrize("is_there", [False, True])
def test_a_restore_that_fails_leaves_no_folder_but_one_that_was_there(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    def fail(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(backup, "_publish", fail)
    folder = tmp_path / "new"
    if is_there:
        folder.mkdir()

    with pytest.raises(OSError, match="No space left"):
        backup.restore(kept, folder)

    assert folder.exists() == is_there
    assert not list(tmp_path.rglob("annealer.sqlite*"))


def test_logs_are_shown_and_followed(annealer: Run, client: Client) -> None:
    job = client.submit(document(name="written"))

    followed = annealer("logs", job.id, "--follow")
    last = annealer("logs", job.id, "--tail", 1)
    pieces = annealer("logs", job.id, "--json")

    assert followed.returncode == 0, followed.stderr
    assert len(followed.stdout.splitlines()) == 2
    assert "training on cpu with 1 thread from step 1" in last.stdout
    assert len(last.stdout.splitlines()) == 1
    assert json.loads(pieces.stdout.splitlines()[0])["attempt"] == 1
    assert "".join(piece.text for piece in client.logs(job.id)) == followed.stdout


# Files outside the database.


def test_files_are_moved_out_of_the_database_and_back(sqlite_url: str, tmp_path: Path) -> None:
    place = f"file://{tmp_path}/contents"
    aimed = {"ANNEALER_DATABASE_URL": sqlite_url, "ANNEALER_BLOBS": place}
    engine = engines.create(sqlite_url)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        blobs.put(engine, tmp_path / name)
    engine.dispose()

    before = json.loads(run("blobs", "list", "--json", cwd=tmp_path, **aimed).stdout)
    out = run("blobs", "move", cwd=tmp_path, **aimed)
    after = json.loads(run("blobs", "list", "--json", cwd=tmp_path, **aimed).stdout)
    again = run("blobs", "move", cwd=tmp_path, **aimed)
    back = run("blobs", "move", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url)

    (had,) = before
    assert had == {"place": "sql", "files": 2, "bytes": 2}
    assert (out.returncode, out.stdout) == (0, f"{had['files']} files were moved to {place}.\n")
    assert after == [had | {"place": place}]
    assert again.stdout.startswith("0 files")
    assert back.stdout == f"{had['files']} files were moved to the database.\n"


def test_a_place_that_is_none_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    done = run("blobs", "move", cwd=tmp_path, ANNEALER_DATABASE_URL=sqlite_url, ANNEALER_BLOBS="/folder")

    assert done.returncode == 2
    assert "file:///absolute/folder" in done.stderr


def test_doctor_tries_where_files_go(s3: S3, tmp_path: Path) -> None:
    found = {
        where: checks(run("doctor", "--json", cwd=tmp_path, ANNEALER_BLOBS=where))["storage"]
        for where in ("s3://annealer/doctor", f"file://{tmp_path}/new", "file:///proc/none", "nonsense")
    }

    assert [one["state"] for one in found.values()] == ["ok", "ok", "problem", "problem"]
    assert found["file:///proc/none"]["remedy"].startswith("Is the folder or bucket there")


def test_a_backup_says_what_is_not_in_it(up: Up, tmp_path: Path) -> None:
    source = backup.backup(up.folder, tmp_path / "plain")
    with closing(sqlite3.connect(tmp_path / "plain")) as connection, connection:
        connection.execute("INSERT INTO blobs (sha256, size, address) VALUES ('x', 1, 's3://bucket/a/ab/x-1')")

    assert source.outside == ()
    assert backup.examine(tmp_path / "plain").outside == ("s3://bucket/a",)
