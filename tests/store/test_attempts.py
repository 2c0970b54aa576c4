"""What a worker does with a job, and what it is refused."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from app.store import attempts, blobs, claims, ensembles, events, jobs, metrics, snapshots, sweep, wishes
from app.store.checkpoints import CheckpointRef
from app.store.claims import Claim
from app.store.clock import ago
from app.store.engine import retry
from app.store.ensembles import NewEnsemble
from app.store.errors import BlobDamaged, Fenced
from app.store.models import Attempt, BlobChunk, Checkpoint, Job
from app.store.reports import Changes, Failure, Progress
from app.store.snapshots import NewSnapshot
from app.store.states import FailureClass, Kind, Outcome, Phase, Status, Wanted
from tests.shop import ANY, ONE, ONE_CPU, ONE_FREE, Shop
from trainer import data
from trainer.events import Scores, VoteScores
from trainer.offer import Offer

SCORES = Scores(0.9, 0.1, 0.3)
VOTES = VoteScores(0.7, 0.3)


@pytest.fixture
def blob(engine: Engine, tmp_path: Path) -> Any:
    """Stores some content and gives its hash."""

    def put(content: str) -> str:
        path = tmp_path / "content"
        path.write_text(content)
        return blobs.put(engine, path)

    return put


def epoch(number: int) -> dict[str, Any]:
    figures = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    rest = {"learning_rate": 0.1, "images_per_second": 100.0, "seconds": 1.0}
    return {"epoch": number, "step": 10 * number, **dict.fromkeys(figures, 0.5), **rest}


def taken(number: int, sha256: str) -> NewSnapshot:
    return NewSnapshot(number, 2 * number, 20 * number, SCORES, {"number": number}, sha256)


def failure(code: str = "child_signal_9", step: int | None = None) -> Failure:
    return Failure(FailureClass.INFRASTRUCTURE, code, "The training process ended.", step=step)


def outcomes(shop: Shop, job_id: str) -> list[Outcome | None]:
    with shop.look() as session:
        query = select(Attempt.outcome).where(Attempt.job_id == job_id).order_by(Attempt.number)
        return list(session.scalars(query))


def kinds(shop: Shop, job_id: str) -> list[str]:
    with shop.look() as session:
        return [event.kind for event in events.after(session, job_id, 0, 100)]


def again(shop: Shop) -> Claim:
    claim = shop.claim()
    assert claim is not None
    return claim


def test_the_oldest_job_is_claimed_first(shop: Shop) -> None:
    first, second = shop.submit(), shop.submit()

    assert [again(shop).job_id, again(shop).job_id] == [first.id, second.id]
    assert shop.claim() is None


def test_a_claim_makes_an_attempt_and_tells_what_to_do(shop: Shop) -> None:
    claim = shop.claimed(name="x")

    job = shop.job(claim.job_id)
    assert (job.status, job.phase, job.attempt) == (Status.RUNNING, Phase.STARTING, 1)
    assert job.started_at is not None
    assert claim.spec["name"] == "x"
    assert claim.dataset == data.load("mnist5k").facts
    assert (claim.kind, claim.checkpoint, claim.snapshots) == (Kind.TRAINING, None, ())
    assert outcomes(shop, claim.job_id) == [None]
    assert kinds(shop, claim.job_id) == ["submitted", "started"]


def test_only_jobs_for_the_workers_devices_are_claimed(shop: Shop) -> None:
    shop.submit(device="cuda")
    wanted = shop.submit(device="cpu")

    assert again(shop).job_id == wanted.id
    assert shop.claim() is None
    assert shop.claim(offers={"cuda": ONE}) is not None


def test_a_job_of_several_devices_is_for_workers_that_have_as_many(shop: Shop) -> None:
    large, small = shop.submit(devices=3), shop.submit()

    assert again(shop).job_id == small.id
    assert shop.claim(offers={"auto": Offer(2, ANY)}) is None
    claim = shop.claim(offers={"auto": Offer(4, ANY)}, free=3)
    assert claim is not None
    assert claim.job_id == large.id


def test_a_job_in_half_precision_is_for_workers_that_compute_in_it(shop: Shop) -> None:
    half = shop.submit(execution={"precision": "bfloat16"})

    assert shop.claim(offers={"auto": Offer(1, frozenset({"float32"}))}) is None
    assert again(shop).job_id == half.id


def test_a_job_from_before_a_field_of_the_spec_is_claimed_with_its_default(shop: Shop) -> None:
    job = shop.submit()
    old = {key: value for key, value in job.spec.items() if key not in ("devices", "execution")}
    shop.act(lambda session: session.execute(update(Job).where(Job.id == job.id).values(spec=old)))

    claim = again(shop)

    assert (claim.device, claim.devices) == ("auto", 1)


def test_nobody_goes_before_a_job_that_waits_for_devices(shop: Shop) -> None:
    large, small = shop.submit(devices=3), shop.submit()

    assert shop.claim(offers={"auto": Offer(4, ANY)}, free=2) is None
    assert [shop.job(job.id).attempt for job in (large, small)] == [0, 0]


def test_many_workers_never_claim_the_same_job(shop: Shop) -> None:
    for _ in range(12):
        shop.submit()
    claimed: list[str] = []

    def work() -> None:
        options: dict[str, Any] = {
            "worker_id": "w",
            "offers": ONE_CPU,
            "free": ONE_FREE,
            "device": "cpu",
            "lease_seconds": 60,
        }
        while claim := retry(shop.engine, lambda session: claims.claim(session, **options)):
            claimed.append(claim.job_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(claimed) == len(set(claimed)) == 12


def test_what_is_reported_is_stored(shop: Shop, blob: Any) -> None:
    claim = shop.claimed()

    wanted = shop.record(
        claim,
        phase=Phase.TRAINING,
        progress=Progress(2, 15, 1234.5),
        series={"loss": ([11, 12], [0.5, 0.25])},
        epochs=[epoch(1)],
        snapshots=[taken(1, blob("weights"))],
        checkpoints=[CheckpointRef(10, 1, blob("checkpoint"))],
        events=[("note", "Something happened.", {"a": 1})],
    )

    assert wanted is Wanted.RUN
    job = shop.job(claim.job_id)
    assert (job.phase, job.epoch, job.step, job.images_per_second) == (Phase.TRAINING, 2, 15, 1234.5)
    assert kinds(shop, claim.job_id)[-1] == "note"
    with shop.look() as session:
        assert metrics.series(session, claim.job_id, "loss").values.tolist() == [0.5, 0.25]
        assert [row.epoch for row in metrics.epochs(session, claim.job_id)] == [1]
        (snapshot,) = snapshots.of_job(session, claim.job_id)
        assert (snapshot.number, snapshot.accuracy, snapshot.provenance) == (1, 0.9, {"number": 1})


def test_what_is_told_twice_is_stored_once(shop: Shop, blob: Any) -> None:
    claim = shop.claimed()
    changes: dict[str, Any] = {
        "series": {"loss": ([1, 2], [0.5, 0.25])},
        "epochs": [epoch(1)],
        "snapshots": [taken(1, blob("weights"))],
        "checkpoints": [CheckpointRef(10, 1, blob("checkpoint"))],
        "ensemble": NewEnsemble("swa", [(1, 1.0)], SCORES, SCORES, SCORES, VOTES, averaged=5),
    }

    shop.record(claim, **changes)
    shop.record(claim, **changes)

    with shop.look() as session:
        assert metrics.series(session, claim.job_id, "loss").count == 2
        assert len(metrics.epochs(session, claim.job_id)) == 1
        assert len(snapshots.of_job(session, claim.job_id)) == 1
        ensemble = ensembles.of_job(session, claim.job_id)
        assert ensemble is not None
        assert len(ensembles.members(session, ensemble.id)) == 1
        assert (ensemble.kind, ensemble.averaged) == ("swa", 5)


def test_an_ensemble_keeps_its_members_in_order_with_their_weights(shop: Shop, blob: Any) -> None:
    claim = shop.claimed()
    numbers = (1, 2, 3)
    shop.record(claim, snapshots=[taken(number, blob(str(number))) for number in numbers])

    shares = [(2, 0.25), (3, 0.75)]
    single, geometric = Scores(0.8, 0.2, 0.6), Scores(0.85, 0.15, 0.5)
    shop.record(claim, ensemble=NewEnsemble("snapshots", shares, SCORES, single, geometric, VOTES))

    with shop.look() as session:
        ensemble = ensembles.of_job(session, claim.job_id)
        assert ensemble is not None
        assert (ensemble.accuracy, ensemble.single_accuracy) == (0.9, 0.8)
        assert (ensemble.geometric_mean_accuracy, ensemble.geometric_mean_negative_log_likelihood) == (0.85, 0.5)
        assert (ensemble.majority_vote_accuracy, ensemble.majority_vote_error) == (0.7, 0.3)
        assert (ensemble.kind, ensemble.averaged) == ("snapshots", None)
        members = ensembles.members(session, ensemble.id)
        assert [(member.snapshot.number, member.weight) for member in members] == [(2, 0.25), (3, 0.75)]


def test_the_two_newest_checkpoints_are_kept(shop: Shop, blob: Any) -> None:
    claim = shop.claimed()
    for step in (10, 20, 30):
        shop.record(claim, checkpoints=[CheckpointRef(step, step // 10, blob(str(step)))])

    with shop.look() as session:
        assert sorted(session.scalars(select(Checkpoint.step))) == [20, 30]


def test_a_closed_attempt_writes_nothing(shop: Shop) -> None:
    claim = shop.claimed(lease=-1)
    shop.act(sweep.rescue)
    version = shop.job(claim.job_id).version

    with pytest.raises(Fenced):
        shop.record(claim, series={"loss": ([1], [0.5])}, events=[("late", "Late.", {})])
    for end in (attempts.succeed, attempts.cancel, attempts.release):
        with pytest.raises(Fenced):
            shop.act(end, claim.job_id, claim.attempt)

    assert shop.job(claim.job_id).version == version
    with shop.look() as session:
        assert metrics.names(session, claim.job_id) == []


def test_a_worker_that_was_replaced_does_not_disturb_its_successor(shop: Shop) -> None:
    old = shop.claimed(lease=-1)
    shop.act(sweep.rescue)
    new = again(shop)

    with pytest.raises(Fenced):
        shop.record(old, series={"loss": ([1], [0.5])})

    assert new.attempt == 2
    shop.record(new, series={"loss": ([1], [0.25])})
    with shop.look() as session:
        assert metrics.series(session, new.job_id, "loss").values.tolist() == [0.25]


def test_a_lease_that_is_renewed_is_not_rescued(shop: Shop) -> None:
    claim = shop.claimed(lease=-1)

    shop.record(claim)

    assert shop.act(sweep.rescue) == []


def test_a_lost_job_goes_on_from_its_checkpoint_without_what_came_after(shop: Shop, blob: Any) -> None:
    claim = shop.claimed(lease=-1)
    shop.record(
        claim,
        progress=Progress(3, 25, 1.0),
        series={"loss": (list(range(1, 26)), [float(step) for step in range(1, 26)])},
        epochs=[epoch(1), epoch(2)],
        snapshots=[taken(1, blob("one"))],
        checkpoints=[CheckpointRef(20, 2, blob("checkpoint"))],
    )
    shop.record(claim, epochs=[epoch(3)], snapshots=[taken(2, blob("two"))])
    shop.record(claim, ensemble=NewEnsemble("snapshots", [(1, 0.5), (2, 0.5)], SCORES, SCORES, SCORES, VOTES))
    shop.act(attempts.release, claim.job_id, claim.attempt)

    going_on = again(shop)

    assert going_on.checkpoint == CheckpointRef(20, 2, blob("checkpoint"))
    assert [taken.number for taken in going_on.snapshots] == [1]
    job = shop.job(claim.job_id)
    assert (job.epoch, job.step) == (3, 20)
    with shop.look() as session:
        assert [row.epoch for row in metrics.epochs(session, claim.job_id)] == [1, 2]
        assert metrics.series(session, claim.job_id, "loss").steps.tolist() == list(range(1, 21))
        assert ensembles.of_job(session, claim.job_id) is None


def test_an_attempt_can_only_be_lost_once(shop: Shop) -> None:
    claim = shop.claimed(lease=-1)

    assert shop.act(sweep.rescue) == [(claim.job_id, 1, Status.QUEUED)]
    assert shop.act(sweep.rescue) == []
    assert outcomes(shop, claim.job_id) == [Outcome.LOST]


def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(shop: Shop) -> None:
    claim = shop.claimed(lease=-1)
    shop.act(wishes.cancel, claim.job_id)

    shop.act(sweep.rescue)

    assert shop.job(claim.job_id).status is Status.CANCELLED


def test_success_is_final_and_drops_checkpoints(shop: Shop, blob: Any) -> None:
    claim = shop.claimed()
    shop.record(claim, checkpoints=[CheckpointRef(10, 1, blob("x"))])

    shop.act(attempts.succeed, claim.job_id, claim.attempt)

    job = shop.job(claim.job_id)
    assert job.status is Status.SUCCEEDED
    assert job.finished_at is not None
    assert outcomes(shop, claim.job_id) == [Outcome.SUCCEEDED]
    with shop.look() as session:
        assert session.scalars(select(Checkpoint)).all() == []


@pytest.mark.parametrize(
    "failure_class", [FailureClass.USER, FailureClass.DIVERGED, FailureClass.OUT_OF_MEMORY, FailureClass.TIMEOUT]
)
def test_a_failure_that_would_come_again_is_final(shop: Shop, failure_class: FailureClass) -> None:
    claim = shop.claimed()
    why = Failure(failure_class, "some_code", "It went wrong.", {"epoch": 2}, "Do better.", 17)

    assert shop.act(attempts.fail, claim.job_id, claim.attempt, why) is Status.FAILED

    job = shop.job(claim.job_id)
    assert (job.failure_class, job.failure_code, job.failure_message) == (failure_class, "some_code", "It went wrong.")
    assert (job.failure_detail, job.failure_hint) == ({"epoch": 2, "step": 17}, "Do better.")


def test_a_failure_of_the_infrastructure_is_tried_again_up_to_max_attempts(shop: Shop) -> None:
    claim = shop.claimed(max_attempts=3)
    statuses = []
    for step in (1, 2, 3):
        statuses.append(shop.act(attempts.fail, claim.job_id, claim.attempt, failure(step=step)))
        if step < 3:
            claim = again(shop)

    assert statuses == [Status.QUEUED, Status.QUEUED, Status.FAILED]
    assert "All 3 attempts are used up" in str(shop.job(claim.job_id).failure_message)


def test_the_same_failure_twice_at_the_same_step_is_not_tried_a_third_time(shop: Shop) -> None:
    claim = shop.claimed()
    assert shop.act(attempts.fail, claim.job_id, claim.attempt, failure(step=7)) is Status.QUEUED
    claim = again(shop)

    assert shop.act(attempts.fail, claim.job_id, claim.attempt, failure(step=7)) is Status.FAILED

    assert "twice at step" in str(shop.job(claim.job_id).failure_message)


def test_handing_back_does_not_count_as_an_attempt(shop: Shop) -> None:
    claim = shop.claimed(max_attempts=1)
    for _ in range(3):
        shop.act(attempts.release, claim.job_id, claim.attempt)
        claim = again(shop)

    assert shop.job(claim.job_id).status is Status.RUNNING
    assert outcomes(shop, claim.job_id) == [Outcome.RELEASED] * 3 + [None]


def test_a_damaged_checkpoint_is_left_for_the_one_before(shop: Shop, blob: Any) -> None:
    claim = shop.claimed()
    for step in (10, 20):
        shop.record(claim, checkpoints=[CheckpointRef(step, step // 10, blob(str(step)))])
    shop.act(attempts.release, claim.job_id, claim.attempt)
    claim = again(shop)
    assert claim.checkpoint is not None
    assert claim.checkpoint.step == 20

    shop.act(attempts.reject_checkpoint, claim.job_id, claim.attempt, claim.checkpoint)

    claim = again(shop)
    assert claim.checkpoint is not None
    assert claim.checkpoint.step == 10
    assert "requeued" in kinds(shop, claim.job_id)


def test_history_tells_the_story(shop: Shop) -> None:
    claim = shop.claimed()
    shop.act(attempts.fail, claim.job_id, claim.attempt, failure())
    claim = again(shop)
    shop.act(attempts.succeed, claim.job_id, claim.attempt)

    assert kinds(shop, claim.job_id) == ["submitted", "started", "requeued", "resumed", "succeeded"]
    with shop.look() as session:
        told = events.after(session, claim.job_id, 0, 100)
        assert [event.number for event in told] == [1, 2, 3, 4, 5]
        assert [event.attempt for event in told] == [None, 1, 1, 2, 2]


def test_deleting_a_job_leaves_blobs_that_another_one_has(shop: Shop, blob: Any) -> None:
    shared, own = blob("shared"), blob("own")
    first, second = shop.claimed(), shop.claimed()
    shop.record(first, snapshots=[taken(1, shared), taken(2, own)])
    shop.record(second, snapshots=[taken(1, shared)])
    shop.act(attempts.succeed, first.job_id, first.attempt)

    shop.act(jobs.delete, first.job_id)

    assert b"".join(blobs.stream(shop.engine, shared)) == b"shared"
    with shop.look() as session, pytest.raises(BlobDamaged, match="not stored"):
        blobs.size(session, own)


def test_a_batch_that_comes_again_renews_the_lease_and_changes_nothing(shop: Shop, blob: Any) -> None:
    claim = shop.claimed(lease=-1)
    changes = Changes(
        series={"loss": ([1], [0.5])},
        snapshots=[taken(1, blob("weights"))],
        ensemble=NewEnsemble("swa", [(1, 1.0)], SCORES, SCORES, SCORES, VOTES, averaged=5),
        events=[("snapshot_taken", "Snapshot 1.", {})],
    )
    record = (attempts.record, claim.job_id, claim.attempt, 60.0, changes, 1)
    assert shop.act(*record) is Wanted.RUN
    version = shop.job(claim.job_id).version
    with shop.look() as session:
        first = ensembles.of_job(session, claim.job_id)
    shop.act(lambda session: session.execute(update(Attempt).values(lease_expires_at=ago(1))))

    assert shop.act(*record) is Wanted.RUN

    assert shop.job(claim.job_id).version == version
    assert kinds(shop, claim.job_id).count("snapshot_taken") == 1
    assert shop.act(sweep.rescue) == []
    with shop.look() as session:
        again = ensembles.of_job(session, claim.job_id)
    assert first is not None
    assert again is not None
    assert again.id == first.id


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"is_done": True}, Outcome.SUCCEEDED),
        ({"failure": failure()}, Outcome.CRASHED),
        ({"failure": Failure(FailureClass.USER, "data_invalid", "It went wrong.")}, Outcome.FAILED),
        ({}, Outcome.RELEASED),
    ],
)
def test_a_worker_whose_end_was_stored_unheard_finds_it_to_be_its_own(
    shop: Shop, options: dict[str, Any], outcome: Outcome
) -> None:
    claim = shop.claimed()
    assert shop.act(attempts.ended, claim.job_id, claim.attempt) is None

    assert shop.act(lambda session: attempts.finish(session, claim.job_id, claim.attempt, **options)) is outcome

    assert shop.act(attempts.ended, claim.job_id, claim.attempt) is outcome


def test_an_end_that_the_sweep_has_put_is_not_the_workers_own(shop: Shop) -> None:
    claim = shop.claimed(lease=-1)
    shop.act(sweep.rescue)

    with pytest.raises(Fenced):
        shop.act(attempts.ended, claim.job_id, claim.attempt)
    with pytest.raises(Fenced):
        shop.act(attempts.finish, claim.job_id, claim.attempt)


def test_a_damaged_snapshot_is_taken_again_from_the_checkpoint_before_it(shop: Shop, blob: Any) -> None:
    claim = shop.claimed()
    shop.record(
        claim,
        snapshots=[taken(1, blob("one")), taken(2, blob("two"))],
        checkpoints=[CheckpointRef(30, 3, blob("30")), CheckpointRef(40, 4, blob("40"))],
    )
    shop.act(attempts.release, claim.job_id, claim.attempt)
    claim = again(shop)
    second = claim.snapshots[1]
    assert (second.number, second.step) == (2, 40)

    shop.act(attempts.reject_snapshot, claim.job_id, claim.attempt, second)

    claim = again(shop)
    assert claim.checkpoint == CheckpointRef(30, 3, blob("30"))
    assert [snapshot.number for snapshot in claim.snapshots] == [1]
    with shop.look() as session:
        told = [event.message for event in events.after(session, claim.job_id, 0, 100)]
    assert "Snapshot 2, of step 40, is damaged and will be taken again. The job will go on from step 30." in told


def test_a_damaged_snapshot_that_all_checkpoints_need_takes_the_job_back_to_its_start(shop: Shop, blob: Any) -> None:
    claim = shop.claimed()
    shop.record(claim, snapshots=[taken(1, blob("one"))], checkpoints=[CheckpointRef(20, 2, blob("20"))])
    shop.record(claim, checkpoints=[CheckpointRef(30, 3, blob("30"))])
    shop.act(attempts.release, claim.job_id, claim.attempt)
    claim = again(shop)

    shop.act(attempts.reject_snapshot, claim.job_id, claim.attempt, claim.snapshots[0])

    claim = again(shop)
    assert (claim.checkpoint, claim.snapshots) == (None, ())


def test_what_was_damaged_is_stored_anew(shop: Shop, blob: Any) -> None:
    sha256 = blob("weights")
    shop.act(lambda session: session.execute(update(BlobChunk).values(data=b"damaged")))

    shop.act(blobs.empty, sha256)

    assert blob("weights") == sha256
    assert b"".join(blobs.stream(shop.engine, sha256)) == b"weights"
