"""Ensembles by request: what they hold on to, how they are scored, and that nothing of theirs goes."""

import threading

import pytest
from sqlalchemy import Engine, select

from app.store import attempts, candidates, census, ensembles, jobs, sweep, wishes
from app.store.claims import Claim
from app.store.engine import retry
from app.store.errors import InUse, NotFound
from app.store.models import Attempt, Ensemble, Job
from app.store.reports import Failure, Progress
from app.store.states import FailureClass, Kind, Status
from tests.reports import measured
from tests.shop import Shop
from trainer.errors import SpecInvalid


def shares(shop: Shop, ensemble: Ensemble) -> dict[str, float | None]:
    with shop.look() as session:
        return {one.snapshot.id: one.weight for one in ensembles.members(session, ensemble.id)}


def scored(shop: Shop, ensemble: Ensemble) -> Ensemble:
    with shop.look() as session:
        return ensembles.get(session, ensemble.id)


def score(shop: Shop, ids: list[str], found: list[float]) -> Claim:
    """Do what a worker does, up to the end."""
    claim = shop.claim()
    assert claim is not None
    assert [ref.id for ref in claim.snapshots] == ids
    shop.record(claim, progress=Progress(1, len(ids), steps=len(ids)), measured=measured(ids, found))
    return claim


def test_a_scoring_waits_as_a_job_of_its_own_kind_with_the_members_in_order(shop: Shop) -> None:
    ids = shop.snapshots(shop.trained(), shop.trained(snapshots=1))[::-1]

    ensemble = shop.ensemble(ids, priority=3)
    claim = shop.claim()

    assert claim is not None
    assert (claim.job_id, claim.kind, claim.checkpoint) == (ensemble.job_id, Kind.SCORING, None)
    assert [ref.id for ref in claim.snapshots] == ids
    assert claim.spec["members"] == {"kind": "snapshots", "ids": ids}
    assert claim.dataset is not None
    assert claim.dataset.name == "mnist5k"
    assert shop.job(claim.job_id).priority == 3


def test_a_scoring_has_its_turn_among_trainings(shop: Shop) -> None:
    ids = shop.snapshots(shop.trained())
    before, ensemble, after = shop.submit(), shop.ensemble(ids), shop.submit()

    taken = [shop.claim() for _ in range(3)]

    assert [claim and claim.job_id for claim in taken] == [before.id, ensemble.job_id, after.id]


def test_lists_show_trainings_unless_asked_otherwise(shop: Shop) -> None:
    training = shop.trained()
    ensemble = shop.ensemble(shop.snapshots(training))

    def listed(filters: jobs.JobFilter) -> list[str]:
        with shop.look() as session:
            return [job.id for job in jobs.page(session, filters, "created_at", None, 10)[0]]

    assert listed(jobs.JobFilter()) == [training.job_id]
    assert listed(jobs.JobFilter(kind=(Kind.SCORING,))) == [ensemble.job_id]
    assert listed(jobs.JobFilter(kind=())) == [training.job_id, ensemble.job_id]


def test_a_scoring_is_counted_in_the_queue_and_apart_from_trainings(shop: Shop) -> None:
    shop.ensemble(shop.snapshots(shop.trained()))

    with shop.look() as session:
        found = census.take(session)

    counted = {named: count for named, count in found.jobs.items() if count}
    assert counted == {(Kind.TRAINING, Status.SUCCEEDED): 1, (Kind.SCORING, Status.QUEUED): 1}
    assert found.queues["auto"].jobs == 1


def test_a_damaged_member_fails_the_scoring_and_takes_nothing_from_the_training(shop: Shop) -> None:
    training = shop.trained()
    ids = shop.snapshots(training)
    ensemble = shop.ensemble(ids)
    damaged = Failure(FailureClass.INFRASTRUCTURE, "snapshot_damaged", "The stored weights are damaged.")

    for _ in range(2):
        claim = shop.claim()
        assert claim is not None
        shop.act(attempts.fail, claim.job_id, claim.attempt, damaged)

    assert shop.job(ensemble.job_id).status is Status.FAILED
    assert shop.snapshots(training) == ids


def test_what_a_scoring_finds_is_kept_and_the_unchosen_are_released_at_its_end(shop: Shop) -> None:
    kept, spare = shop.trained(), shop.trained()
    ids = shop.snapshots(kept, spare)
    ensemble = shop.ensemble(ids)
    assert shares(shop, ensemble) == dict.fromkeys(ids)

    claim = score(shop, ids, [0.75, 0.25, 0.0, 0.0])

    assert shares(shop, ensemble) == {ids[0]: 0.75, ids[1]: 0.25}
    with pytest.raises(InUse):
        shop.act(jobs.delete, spare.job_id)
    shop.act(attempts.succeed, claim.job_id, claim.attempt)
    shop.act(jobs.delete, spare.job_id)
    found = scored(shop, ensemble)
    assert (found.accuracy, found.error, found.negative_log_likelihood) == (0.95, 0.05, 0.2)
    assert (found.single_accuracy, found.single_negative_log_likelihood) == (0.9, 0.3)
    assert (found.geometric_mean_error, found.majority_vote_error) == (0.06, 0.07)
    assert found.report is not None
    assert found.report["members"][3]["snapshot_id"] == ids[3]


def test_a_scoring_whose_worker_was_lost_is_scored_again_from_all_it_chooses_from(shop: Shop) -> None:
    ids = shop.snapshots(shop.trained())
    ensemble = shop.ensemble(ids)
    lost = score(shop, ids, [1.0, 0.0])
    with shop.look() as session:
        worker = session.scalars(select(Attempt.worker_id).where(Attempt.job_id == lost.job_id)).one()

    shop.act(sweep.rescue_of, worker)
    again = score(shop, ids, [1.0, 0.0])
    shop.act(attempts.succeed, again.job_id, again.attempt)

    assert again.attempt == 2
    assert shares(shop, ensemble) == {ids[0]: 1.0}
    assert shop.job(ensemble.job_id).status is Status.SUCCEEDED


def test_a_failed_scoring_can_be_retried(shop: Shop) -> None:
    ids = shop.snapshots(shop.trained())
    ensemble = shop.ensemble(ids)
    claim = shop.claim()
    assert claim is not None
    shop.act(attempts.fail, claim.job_id, claim.attempt, Failure(FailureClass.USER, "data_invalid", "No."))

    shop.act(wishes.retry, ensemble.job_id, "start")

    score(shop, ids, [0.5, 0.5])
    assert shares(shop, ensemble) == dict.fromkeys(ids, 0.5)


def test_a_job_whose_snapshots_are_members_stays_until_the_ensemble_goes(shop: Shop) -> None:
    training = shop.trained()
    ids = shop.snapshots(training)
    first, second = shop.ensemble(ids), shop.ensemble(ids[:1])
    for ensemble in (first, second):
        shop.act(wishes.cancel, ensemble.job_id)

    with pytest.raises(InUse) as refused:
        shop.act(jobs.delete, training.job_id)
    assert refused.value.users == (first.id, second.id)

    for ensemble in (first, second):
        shop.act(jobs.delete, ensemble.job_id)
    shop.act(jobs.delete, training.job_id)
    with pytest.raises(NotFound):
        shop.job(training.job_id)


def test_a_trainings_own_ensemble_does_not_keep_it(shop: Shop) -> None:
    training = shop.trained()

    shop.act(jobs.delete, training.job_id)

    assert shop.snapshots(training) == []


def test_a_training_is_not_tried_again_while_its_snapshots_are_members(shop: Shop) -> None:
    training = shop.trained(end=False)
    shop.act(attempts.fail, training.job_id, training.attempt, Failure(FailureClass.DIVERGED, "x", "No."))
    shop.ensemble(shop.snapshots(training))

    with pytest.raises(InUse, match="cannot be retried"):
        shop.act(wishes.retry, training.job_id, "start")

    assert len(shop.snapshots(training)) == 2


def test_snapshots_of_a_training_that_still_runs_are_refused(shop: Shop) -> None:
    ids = shop.snapshots(shop.trained(end=False))

    with pytest.raises(SpecInvalid) as refused:
        shop.ensemble(ids)

    assert {mistake.code for mistake in refused.value.mistakes} == {"job_not_final"}


def test_the_last_few_of_each_job_are_taken_in_order(shop: Shop) -> None:
    first, second = shop.trained(snapshots=3), shop.trained(snapshots=1)
    ids = shop.snapshots(first, second)

    ensemble = shop.ensemble([], members={"kind": "jobs", "ids": [second.job_id, first.job_id], "last": 2})

    with shop.look() as session:
        found = [one.snapshot.id for one in ensembles.members(session, ensemble.id)]
    assert found == [ids[3], ids[1], ids[2]]


def test_an_ensemble_made_while_its_job_is_deleted_has_all_its_members_or_is_refused(
    engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = shop.trained()
    ids = shop.snapshots(training)
    find, found, go_on = candidates.find, threading.Event(), threading.Event()

    def slowly(*arguments: object) -> object:
        places = find(*arguments)  # type: ignore[arg-type]
        found.set()
        go_on.wait(5)
        return places

    monkeypatch.setattr(candidates, "find", slowly)
    made: list[Ensemble] = []
    refusals: list[InUse] = []

    def delete() -> None:
        try:
            retry(engine, lambda session: jobs.delete(session, training.job_id))
        except InUse as error:
            refusals.append(error)

    maker = threading.Thread(target=lambda: made.append(shop.ensemble(ids)))
    maker.start()
    found.wait(5)
    deleter = threading.Thread(target=delete)
    deleter.start()
    deleter.join(0.2)
    go_on.set()
    maker.join()
    deleter.join()

    assert list(shares(shop, made[0])) == ids
    assert len(refusals) == 1


def test_ensembles_are_listed_newest_first_by_pages(shop: Shop) -> None:
    ids = shop.snapshots(shop.trained())
    made = [shop.ensemble(ids, owner=owner).id for owner in ("a", "b", "a")]

    def page(owner: str | None, after: str | None) -> tuple[list[str], str | None]:
        with shop.look() as session:
            found, following = ensembles.page(session, owner, after, 2)
            return [one.id for one in found], following

    first, cursor = page(None, None)
    second, end = page(None, cursor)

    assert (first, second, end) == (made[:0:-1], made[:1], None)
    assert page("a", None) == ([made[2], made[0]], None)


def test_a_scoring_that_is_deleted_takes_its_ensemble_along(shop: Shop) -> None:
    ensemble = shop.ensemble(shop.snapshots(shop.trained()))
    shop.act(wishes.cancel, ensemble.job_id)

    shop.act(jobs.delete, ensemble.job_id)

    with pytest.raises(NotFound):
        scored(shop, ensemble)
    with shop.look() as session:
        assert session.get(Job, ensemble.job_id) is None
