"""What may happen to the database and the connections to it."""

import signal
import threading
import time

import pytest
from sqlalchemy import create_engine, make_url, text

from app.client import ProblemError
from app.store.states import Outcome, Status
from tests.faults.judge import judge
from tests.faults.pace import here
from tests.faults.proxy import Trap
from tests.faults.service import ENDLESS, LONGER, SECONDS, TINY
from tests.faults.system import LEASE_SECONDS, System
from tests.servers import await_true

AWAY_SECONDS = 60.0


@pytest.mark.faults
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_16_the_database_is_restarted(on_postgresql: System, how: str) -> None:
    system = on_postgresql
    assert system.postgres is not None
    job = system.submit(LONGER)
    system.await_epoch(job, 4)

    getattr(system.postgres, how)()
    system.postgres.start()

    since = time.monotonic()
    step = system.job(job).step
    await_true(lambda: system.job(job).step > step or system.status(job).is_final, SECONDS)
    print(f"reports were stored again {time.monotonic() - since:.1f} s after the restart")
    system.await_final(job)
    assert len(system.attempts(job)) == 1
    judge(system, {job: LONGER})


@pytest.mark.faults
@pytest.mark.parametrize("how", ["refuse", "stall"])
def test_17_the_database_is_away_for_a_minute(on_postgresql: System, how: str) -> None:
    """The training goes on; what it reports waits. Requests are refused in words and soon."""
    system = on_postgresql
    job = system.submit(ENDLESS)
    system.await_epoch(job, 2)
    step = system.job(job).step

    getattr(system.database, how)()
    began = time.monotonic()
    if how == "refuse":
        with pytest.raises(ProblemError) as refused:
            system.client.job(job)
        assert refused.value.problem.status == 503
        assert time.monotonic() - began < here(5)
        assert system.http.get("/readyz", timeout=30).json()["database"] == "unreachable"
    time.sleep(max(0.0, began + AWAY_SECONDS - time.monotonic()))
    assert system.job(job).step - step < 500
    assert system.worker.children()
    system.database.heal()
    system.database.cut()

    since = time.monotonic()
    await_true(lambda: system.job(job).step > step + 500, SECONDS)
    print(f"reports were stored {time.monotonic() - since:.1f} s after the database was back")
    system.client.cancel(job)
    system.await_status(job, Status.CANCELLED)
    assert len(system.attempts(job)) == 1
    judge(system, {job: ENDLESS}, {job: Status.CANCELLED})


@pytest.mark.faults
def test_17_the_database_is_away_for_longer_than_the_operators_patience(on_postgresql: System) -> None:
    """The training stops with a checkpoint; once the database is back all is stored, and the job goes on from there."""
    system = on_postgresql
    system.kill(system.worker)
    system.start_worker(store_patience_seconds="2")
    job = system.submit(TINY | {"epochs": 60})
    system.await_epoch(job, 2)

    system.database.refuse()
    await_true(lambda: system.worker.children() == [], SECONDS)
    step = system.job(job).step
    since = time.time()
    system.database.heal()

    system.recovered(job, since)
    first, second = system.attempts(job)
    assert first.outcome is Outcome.RELEASED
    assert second.first_step > step
    assert "The database was away for too long" in system.story(job)
    system.await_final(job)
    judge(system, {job: TINY | {"epochs": 60}})


@pytest.mark.faults
def test_17_a_worker_is_told_to_stop_while_the_database_is_away(on_postgresql: System) -> None:
    system = on_postgresql
    job = system.submit(LONGER)
    system.await_epoch(job, 2)
    system.database.refuse()

    stopped = system.workers.pop()
    stopped.signal(signal.SIGTERM)
    stopped.wait(15)
    system.database.heal()

    system.start_worker()
    system.await_final(job)
    judge(system, {job: LONGER})


IN_HAND_SECONDS = 15.0
NEW_SECONDS = 10.0
"""What docs/operations.md promises of a database that says nothing; a loaded machine is given a few more."""


@pytest.mark.faults
def test_17_the_database_accepts_everything_and_says_nothing(on_postgresql: System) -> None:
    """Stopped processes keep their connections, and so only a clock of our own tells that nobody is there."""
    system = on_postgresql
    postgres = system.postgres
    assert postgres is not None
    job = system.submit(ENDLESS)
    system.await_epoch(job, 2)
    step = system.job(job).step
    answers: list[tuple[int, float]] = []

    def wait_for_news() -> None:
        began = time.monotonic()
        answer = system.http.get(f"/v1/jobs/{job}/metrics", timeout=60)
        answers.append((answer.status_code, time.monotonic() - began))

    over = threading.Event()

    def ask_again_and_again() -> None:
        while not over.is_set():
            wait_for_news()

    askers = [threading.Thread(target=ask_again_and_again) for _ in range(4)]
    for asker in askers:
        asker.start()
    time.sleep(0.5)
    postgres.freeze()
    time.sleep(IN_HAND_SECONDS)
    began = time.monotonic()
    refused = system.http.post("/v1/jobs", json=TINY, headers={"Idempotency-Key": "frozen"}, timeout=60)
    refusal_took = time.monotonic() - began
    ready, health = system.http.get("/readyz", timeout=60), system.http.get("/healthz")
    over.set()
    for asker in askers:
        asker.join()
    assert system.worker.children()
    postgres.thaw()

    since = time.monotonic()
    await_true(lambda: system.job(job).step > step + 500, 30)
    print(
        f"new requests were refused in {refusal_took:.1f} s, those in hand in {max(took for _, took in answers):.1f} s"
    )
    print(f"reports were stored {time.monotonic() - since:.1f} s after the database went on")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert refusal_took < NEW_SECONDS + 5
    assert {status for status, _ in answers} == {200, 503}
    assert max(took for _, took in answers) < IN_HAND_SECONDS + 10
    assert (ready.status_code, ready.json()["database"], health.status_code) == (503, "unreachable", 200)
    # A server that has just let a connection time out is left alone for a second.
    await_true(lambda: system.http.get("/readyz").status_code == 200, 5)
    answer = system.http.post("/v1/jobs", json=TINY, headers={"Idempotency-Key": "frozen"})
    again = system.http.post("/v1/jobs", json=TINY, headers={"Idempotency-Key": "frozen"})
    assert answer.json()["id"] == again.json()["id"]
    system.client.cancel(job)
    system.await_status(job, Status.CANCELLED, 10)
    system.await_final(answer.json()["id"])
    assert len(system.attempts(job)) == 1
    judge(system, {job: ENDLESS, answer.json()["id"]: TINY}, {job: Status.CANCELLED})


WORDS = {
    "claim": [b"INSERT INTO attempts", b"COMMIT"],
    "record": [b"INSERT INTO epochs", b"COMMIT"],
    "snapshot": [b"INSERT INTO snapshots", b"COMMIT"],
    "blob": [b"INSERT INTO blob_chunks", b"COMMIT"],
    # What the event says: a statement that a connection knows by a number is not seen.
    "finish": [b"The job succeeded after", b"COMMIT"],
}


@pytest.mark.faults
@pytest.mark.parametrize("answered", [False, True], ids=["before the commit", "its answer lost"])
@pytest.mark.parametrize("moment", WORDS)
def test_18_a_connection_is_cut_in_mid_transaction(on_postgresql: System, moment: str, answered: bool) -> None:
    system = on_postgresql
    system.kill(system.worker)
    trap = system.database.set(Trap(WORDS[moment], answered=answered))
    system.start_worker()

    job = system.submit()
    assert trap.sprung.wait(SECONDS)

    system.await_final(job)
    judge(system, {job: TINY})


@pytest.mark.faults
def test_18_a_connection_is_cut_in_the_middle_of_a_submit(on_postgresql: System) -> None:
    """The client is told to come back, does, and has one job."""
    system = on_postgresql
    for answered in (False, True):
        # A new connection: an old one knows the statement by a number.
        system.database.cut()
        trap = system.database.set(Trap([b"INSERT INTO jobs", b"COMMIT"], answered=answered))
        job = system.submit()
        assert trap.sprung.is_set()
        system.await_final(job)
        judge(system, {job: TINY})
        with system.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM jobs")) == 1
        system.heal()


@pytest.mark.faults
def test_19_serialization_failures(on_postgresql: System) -> None:
    """Every transaction at the strictest level, so that those of two workers and a client fail now and then."""
    system = on_postgresql
    name = make_url(system.database_url).database
    administrator = create_engine(system.database_url, isolation_level="AUTOCOMMIT")

    def use(level: str) -> None:
        with administrator.connect() as connection:
            connection.execute(text(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation TO '{level}'"))
        system.database.cut()

    use("serializable")
    try:
        system.start_worker()
        jobs = [system.submit() for _ in range(6)]
        system.await_final(*jobs)
        judge(system, dict.fromkeys(jobs, TINY))
    finally:
        use("read committed")
        administrator.dispose()


@pytest.mark.faults
def test_19_sqlite_is_busy(on_sqlite: System) -> None:
    """Somebody holds the write lock: for a moment everybody waits; for longer the database counts as away."""
    system = on_sqlite
    job = system.submit(LONGER)
    system.await_epoch(job, 2)

    with system.writing():
        time.sleep(LEASE_SECONDS + 1)

    system.await_final(job)
    assert len(system.attempts(job)) == 1
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_19_sqlite_is_busy_for_longer_than_anybody_waits(on_sqlite: System) -> None:
    system = on_sqlite
    job = system.submit(LONGER)
    system.await_epoch(job, 2)
    jobs = {job: LONGER}

    def submit() -> None:
        answer = system.http.post("/v1/jobs", json=TINY, timeout=120)
        assert answer.status_code in (201, 503)
        if answer.status_code == 201:
            jobs[answer.json()["id"]] = TINY

    client = threading.Thread(target=submit)
    with system.writing():
        client.start()
        time.sleep(15)
    client.join()

    system.await_final(*jobs)
    judge(system, jobs)
