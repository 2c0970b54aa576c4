"""The schema: up, down, and what the models say."""

import threading
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import IntegrityError

from app.store import datasets, jobs, migrate
from app.store import engine as engines
from app.store.engine import read, write
from app.store.models import Dataset, Job
from app.store.states import Kind
from tests.shop import Shop
from tests.specs import spec
from trainer import data


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_the_migrations_make_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin():
        command.check(migrate.config(connection))


def test_down_leaves_nothing_and_up_makes_it_again(engine: Engine, database_url: str) -> None:
    before = tables(engine)
    assert "jobs" in before

    migrate.downgrade(database_url, "base")
    assert tables(engine) == set()
    migrate.upgrade(database_url)

    assert tables(engine) == before


def test_idempotency_keys_become_those_of_their_jobs_owners_and_what_was_stored_stays(
    engine: Engine, database_url: str
) -> None:
    shop = Shop(engine)
    jobs = [shop.submit(key=key, options={"owner": "bob"}).id for key in ("a", "b")]
    rows = text("SELECT owner, key, job_id FROM idempotency_keys ORDER BY key")

    migrate.downgrade(database_url, "0006")
    migrate.upgrade(database_url)

    with engine.connect() as connection:
        found = connection.execute(rows).all()
    assert found == [("bob", "a", jobs[0]), ("bob", "b", jobs[1])]
    assert shop.submit(key="a").id not in jobs


def test_an_older_version_keeps_trainings_and_their_ensembles_and_no_other_kind_of_job(
    engine: Engine, database_url: str
) -> None:
    shop = Shop(engine)
    training = shop.trained()
    made = shop.ensemble(shop.snapshots(training))

    migrate.downgrade(database_url, "0007")
    with engine.connect() as connection:
        left = connection.execute(text("SELECT id FROM jobs")).scalars().all()
        events = connection.execute(text("SELECT DISTINCT job_id FROM events")).scalars().all()
        ensembles = connection.execute(text("SELECT id FROM ensembles")).scalars().all()
    migrate.upgrade(database_url)

    assert made.job_id != training.job_id
    assert (left, events, ensembles) == ([training.job_id], [training.job_id], [])
    assert shop.job(training.job_id).kind is Kind.TRAINING
    assert len(shop.snapshots(training)) == 2


@pytest.mark.parametrize(
    "condition", ["kind = 'other'", "status = 'other'", "phase = 'training'", "dataset_id = 'none'"]
)
def test_what_the_table_of_jobs_refuses_is_refused_after_all_migrations(engine: Engine, condition: str) -> None:
    job = Shop(engine).submit()

    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(f"UPDATE jobs SET {condition} WHERE id = '{job.id}'"))


def test_up_twice_is_up_once(engine: Engine, database_url: str) -> None:
    migrate.upgrade(database_url)

    migrate.check_schema(engine)


def test_a_database_at_another_version_is_refused_with_the_remedy(engine: Engine, database_url: str) -> None:
    migrate.downgrade(database_url, "base")

    with pytest.raises(migrate.SchemaMismatch, match="run `annealer migrate`"):
        migrate.check_schema(engine)


def test_a_newer_database_is_left_as_it_is(engine: Engine, database_url: str) -> None:
    with write(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    for ask in (lambda: migrate.upgrade(database_url), lambda: migrate.check_schema(engine)):
        with pytest.raises(migrate.SchemaMismatch, match=r"version 9999, .* upgrade this program"):
            ask()


def test_bundled_data_sets_are_known_after_an_upgrade(engine: Engine) -> None:
    with read(engine) as session:
        assert datasets.facts(datasets.get(session, "mnist5k")) == data.load("mnist5k").facts


def test_many_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    errors: list[Exception] = []

    def upgrade() -> None:
        try:
            migrate.upgrade(url)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    migrate.check_schema(engines.create(url))


def test_down_takes_imported_data_sets_with_what_needs_them_and_leaves_the_rest(
    engine: Engine, database_url: str
) -> None:
    shop = Shop(engine)
    kept = shop.submit().id
    with write(engine) as session:
        made = Dataset(id="data_1", name="pets", owner="alice", request_sha256="0" * 64)
        session.add(made)
        session.flush()
        jobs.submit(session, spec(name="on pets"), made, steps_per_epoch=1, max_attempts=1)

    migrate.downgrade(database_url, "0008")
    migrate.upgrade(database_url)

    with read(engine) as session:
        assert [job.id for job in session.scalars(select(Job))] == [kept]
        assert [one.name for one in datasets.page(session, None, None, 10)[0]] == ["gaussian", "mnist5k"]
        assert datasets.manifest(datasets.get(session, "mnist5k")) is not None
