"""What users ask of jobs: cancel, pause, resume, retry."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.store import attempts, blobs, events, metrics, snapshots, sweep, wishes
from app.store.checkpoints import CheckpointRef
from app.store.engine import retry
from app.store.errors import Fenced, MoveRefused
from app.store.models import Attempt, Checkpoint
from app.store.reports import Failure, Progress
from app.store.snapshots import NewSnapshot
from app.store.states import FailureClass, Outcome, Status, Wanted
from tests.shop import Shop
from trainer.events import Scores

BROKEN = Failure(FailureClass.INFRASTRUCTURE, "child_signal_9", "The training process ended.")
INVALID = Failure(FailureClass.USER, "data_invalid", "The data set is another.", hint="Take the right one.")


@pytest.fixture
def sha256(engine: Engine, tmp_path: Path) -> str:
    """A stored blob for checkpoints and snapshots."""
    path = tmp_path / "content"
    path.write_bytes(b"content")
    return blobs.put(engine, path)


def kinds(shop: Shop, job_id: str) -> list[str]:
    with shop.look() as session:
        return [event.kind for event in events.after(session, job_id, 0, 100)]


def kept(shop: Shop) -> list[int]:
    with shop.look() as session:
        return sorted(session.scalars(select(Checkpoint.step)))


def failed_after_two_checkpoints(shop: Shop, sha256: str) -> str:
    """A job that failed at step 25, with checkpoints of steps 10 and 20 and a snapshot after each."""
    claim = shop.claimed()
    shop.record(
        claim,
        progress=Progress(3, 25, 1.0),
        series={"loss": (list(range(1, 26)), [0.5] * 25)},
        checkpoints=[CheckpointRef(10, 1, sha256), CheckpointRef(20, 2, sha256)],
        snapshots=[
            NewSnapshot(number, number, step, Scores(0.9, 0.1, 0.3), {}, sha256) for number, step in ((1, 10), (2, 25))
        ],
    )
    shop.act(attempts.fail, claim.job_id, claim.attempt, INVALID)
    return claim.job_id


def test_a_queued_job_is_paused_at_once_and_not_claimed_until_it_is_resumed(shop: Shop) -> None:
    job = shop.submit()

    shop.act(wishes.pause, job.id)

    assert shop.job(job.id).status is Status.PAUSED
    assert shop.claim() is None
    shop.act(wishes.resume, job.id)
    assert shop.job(job.id).status is Status.QUEUED
    claim = shop.claim()
    assert claim is not None
    assert kinds(shop, job.id) == ["submitted", "paused", "resume_requested", "started"]


def test_a_running_job_is_paused_once_its_worker_has_stopped(shop: Shop, sha256: str) -> None:
    claim = shop.claimed()

    shop.act(wishes.pause, claim.job_id)
    assert (shop.job(claim.job_id).status, shop.job(claim.job_id).wanted) == (Status.RUNNING, Wanted.PAUSE)
    assert shop.record(claim, checkpoints=[CheckpointRef(7, 0, sha256)]) is Wanted.PAUSE
    shop.act(attempts.finish, claim.job_id, claim.attempt)

    assert shop.job(claim.job_id).status is Status.PAUSED
    assert kept(shop) == [7]
    shop.act(wishes.resume, claim.job_id)
    going_on = shop.claim()
    assert going_on is not None
    assert going_on.checkpoint == CheckpointRef(7, 0, sha256)


def test_a_pause_does_not_count_as_an_attempt(shop: Shop) -> None:
    claim = shop.claimed(max_attempts=1)
    for _ in range(2):
        shop.act(wishes.pause, claim.job_id)
        shop.act(attempts.finish, claim.job_id, claim.attempt)
        shop.act(wishes.resume, claim.job_id)
        again = shop.claim()
        assert again is not None
        claim = again

    assert shop.job(claim.job_id).status is Status.RUNNING


@pytest.mark.parametrize("ending", [BROKEN, "lost"])
def test_a_job_that_breaks_while_it_is_paused_is_paused(shop: Shop, ending: Failure | str) -> None:
    claim = shop.claimed(lease=-1)
    shop.act(wishes.pause, claim.job_id)

    if isinstance(ending, Failure):
        shop.act(attempts.fail, claim.job_id, claim.attempt, ending)
    else:
        shop.act(sweep.rescue)

    assert shop.job(claim.job_id).status is Status.PAUSED
    assert kinds(shop, claim.job_id)[-1] == "paused"


def test_a_pause_that_comes_after_the_end_is_forgotten(shop: Shop) -> None:
    claim = shop.claimed()
    shop.act(wishes.pause, claim.job_id)

    shop.act(lambda session: attempts.finish(session, claim.job_id, claim.attempt, is_done=True))

    job = shop.job(claim.job_id)
    assert (job.status, job.wanted) == (Status.SUCCEEDED, Wanted.RUN)


def test_a_pause_can_be_taken_back_before_the_worker_has_stopped(shop: Shop) -> None:
    claim = shop.claimed()
    shop.act(wishes.pause, claim.job_id)

    shop.act(wishes.resume, claim.job_id)
    shop.act(attempts.finish, claim.job_id, claim.attempt)

    assert shop.job(claim.job_id).status is Status.QUEUED
    assert kinds(shop, claim.job_id)[-3:] == ["pause_requested", "resume_requested", "released"]


def test_a_paused_job_is_cancelled_at_once(shop: Shop) -> None:
    job = shop.submit()
    shop.act(wishes.pause, job.id)

    shop.act(wishes.cancel, job.id)

    assert shop.job(job.id).status is Status.CANCELLED


def test_a_cancel_goes_before_a_pause(shop: Shop) -> None:
    claim = shop.claimed()
    shop.act(wishes.pause, claim.job_id)

    shop.act(wishes.cancel, claim.job_id)

    for wish in (wishes.pause, wishes.resume):
        with pytest.raises(MoveRefused, match="is being cancelled"):
            shop.act(wish, claim.job_id)
    shop.act(attempts.finish, claim.job_id, claim.attempt)
    assert shop.job(claim.job_id).status is Status.CANCELLED


@pytest.mark.parametrize("wish", [wishes.pause, wishes.resume, wishes.cancel])
def test_asking_twice_changes_nothing_more(shop: Shop, wish: Callable[..., Any]) -> None:
    for job_id in (shop.claimed().job_id, shop.submit().id):
        if wish is wishes.resume:
            shop.act(wishes.pause, job_id)
        shop.act(wish, job_id)
        version = shop.job(job_id).version

        shop.act(wish, job_id)

        assert shop.job(job_id).version == version


def test_what_is_refused_tells_what_is_allowed(shop: Shop, sha256: str) -> None:
    queued, failed = shop.submit(), None
    claim = shop.claimed()
    running = shop.claim()
    assert running
    shop.act(lambda session: attempts.finish(session, claim.job_id, claim.attempt, is_done=True))
    shop.act(attempts.fail, running.job_id, running.attempt, INVALID)
    failed = running.job_id

    for wish, job_id, allowed in (
        (wishes.pause, claim.job_id, ("delete",)),
        (wishes.resume, claim.job_id, ("delete",)),
        (wishes.pause, failed, ("retry", "delete")),
    ):
        with pytest.raises(MoveRefused, match="Allowed now: ") as caught:
            shop.act(wish, job_id)
        assert caught.value.allowed == allowed
    with pytest.raises(MoveRefused) as caught:
        shop.act(wishes.retry, claim.job_id, "start")
    assert caught.value.allowed == ("delete",)
    assert queued.id in {claim.job_id, failed}


def test_a_retry_goes_on_from_the_last_checkpoint(shop: Shop, sha256: str) -> None:
    job_id = failed_after_two_checkpoints(shop, sha256)
    assert kept(shop) == [20]

    shop.act(wishes.retry, job_id, "checkpoint")

    job = shop.job(job_id)
    assert (job.status, job.step, job.failure_class, job.failure_hint) == (Status.QUEUED, 20, None, None)
    assert job.finished_at is None
    with shop.look() as session:
        assert metrics.series(session, job_id, "loss").steps.tolist() == list(range(1, 21))
        assert [taken.number for taken in snapshots.of_job(session, job_id)] == [1]
    claim = shop.claim()
    assert claim is not None
    assert claim.checkpoint == CheckpointRef(20, 2, sha256)
    assert kinds(shop, job_id)[-3:] == ["failed", "retried", "resumed"]


def test_a_retry_from_the_start_leaves_nothing_of_before(shop: Shop, sha256: str) -> None:
    job_id = failed_after_two_checkpoints(shop, sha256)

    shop.act(wishes.retry, job_id, "start")

    assert kept(shop) == []
    with shop.look() as session:
        assert metrics.names(session, job_id) == []
        assert snapshots.of_job(session, job_id) == []
    claim = shop.claim()
    assert claim is not None
    assert (claim.checkpoint, claim.snapshots, claim.attempt) == (None, (), 2)


def test_a_cancelled_job_can_be_retried_from_where_it_was(shop: Shop, sha256: str) -> None:
    claim = shop.claimed()
    shop.record(claim, checkpoints=[CheckpointRef(10, 1, sha256), CheckpointRef(20, 2, sha256)])
    shop.act(wishes.cancel, claim.job_id)
    shop.act(attempts.finish, claim.job_id, claim.attempt)

    shop.act(wishes.retry, claim.job_id, "checkpoint")

    going_on = shop.claim()
    assert going_on is not None
    assert going_on.checkpoint == CheckpointRef(20, 2, sha256)


def test_attempts_count_anew_after_a_retry(shop: Shop) -> None:
    claim = shop.claimed(max_attempts=2)
    statuses = []
    for step in (1, 2, 3, 4):
        failure = Failure(BROKEN.failure_class, BROKEN.code, BROKEN.message, step=step)
        statuses.append(shop.act(attempts.fail, claim.job_id, claim.attempt, failure))
        if statuses[-1] is Status.FAILED:
            shop.act(wishes.retry, claim.job_id, "checkpoint")
        again = shop.claim()
        assert again is not None
        claim = again

    assert statuses == [Status.QUEUED, Status.FAILED] * 2
    assert claim.attempt == 5


def test_a_failure_before_a_retry_is_not_the_same_failure_again(shop: Shop) -> None:
    claim = shop.claimed()
    failure = Failure(BROKEN.failure_class, BROKEN.code, BROKEN.message, step=7)
    for expected in (Status.QUEUED, Status.FAILED, Status.QUEUED):
        assert shop.act(attempts.fail, claim.job_id, claim.attempt, failure) is expected
        if expected is Status.FAILED:
            shop.act(wishes.retry, claim.job_id, "start")
        again = shop.claim()
        assert again is not None
        claim = again


def test_a_retry_asked_for_twice_is_one(shop: Shop, sha256: str) -> None:
    job_id = failed_after_two_checkpoints(shop, sha256)

    for _ in range(2):
        shop.act(wishes.retry, job_id, "checkpoint")
    shop.claim()
    shop.act(wishes.retry, job_id, "checkpoint")

    assert kinds(shop, job_id).count("retried") == 1
    assert kept(shop) == [20]


def test_a_retry_from_elsewhere_is_refused_while_one_is_under_way(shop: Shop, sha256: str) -> None:
    job_id = failed_after_two_checkpoints(shop, sha256)
    shop.act(wishes.retry, job_id, "checkpoint")

    with pytest.raises(MoveRefused, match="It is being retried already, from: checkpoint"):
        shop.act(wishes.retry, job_id, "start")

    assert kept(shop) == [20]


def test_a_job_that_has_not_ended_is_not_retried(shop: Shop) -> None:
    job = shop.submit()

    with pytest.raises(MoveRefused) as caught:
        shop.act(wishes.retry, job.id, "checkpoint")

    assert (caught.value.before, caught.value.allowed) == ("queued", ("pause", "cancel"))


def test_wishes_and_an_end_at_the_same_moment_leave_one_story(shop: Shop) -> None:
    for _ in range(6):
        claim = shop.claimed()
        job_id, attempt = claim.job_id, claim.attempt
        acts: list[Callable[[Any], Any]] = [
            lambda session: wishes.pause(session, job_id),  # noqa: B023 (joined below)
            lambda session: wishes.cancel(session, job_id),  # noqa: B023
            lambda session: attempts.finish(session, job_id, attempt, is_done=True),  # noqa: B023
        ]
        broken: list[Exception] = []

        def run(act: Callable[[Any], Any], broken: list[Exception] = broken) -> None:
            try:
                retry(shop.engine, act)
            except (MoveRefused, Fenced):
                pass
            except Exception as error:
                broken.append(error)

        threads = [threading.Thread(target=run, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        job = shop.job(job_id)
        assert broken == []
        with shop.look() as session:
            (outcome,) = session.scalars(select(Attempt.outcome).where(Attempt.job_id == job_id))
            numbers = [event.number for event in events.after(session, job_id, 0, 100)]
        assert (job.status, outcome) in {
            (Status.SUCCEEDED, Outcome.SUCCEEDED),
            (Status.CANCELLED, Outcome.CANCELLED),
        }
        assert numbers == list(range(1, len(numbers) + 1))
