"""Ensembles by request, scored by a real worker."""

import json
from pathlib import Path

import torch
from sqlalchemy import delete

from app.store import blobs, ensembles, snapshots
from app.store.engine import write
from app.store.models import BlobChunk, Ensemble, Job
from app.store.states import Status
from tests.servers import await_true
from tests.shop import Shop
from tests.worker.conftest import Plant
from tests.worker.watching import SECONDS, await_status, kinds
from trainer import data
from trainer.events import EnsembleMeasured
from trainer.parsing import parse_as
from trainer.scoring import score
from trainer.spec.scoring import ScoringSpec

GREEDY = {"select": {"kind": "greedy", "count": 10}, "temperature": {}}


def trained(plant: Plant) -> list[str]:
    """Ids of the snapshots of two trainings."""
    jobs = [plant.shop.submit(seed=seed, epochs=2) for seed in (1, 2)]
    plant.bell.ring("auto")
    for job in jobs:
        await_status(plant.shop, job, Status.SUCCEEDED)
    with plant.shop.look() as session:
        return [one.id for job in jobs for one in snapshots.of_job(session, job.id)]


def job_of(shop: Shop, ensemble: Ensemble) -> Job:
    return shop.job(ensemble.job_id)


def undisturbed(plant: Plant, ensemble: Ensemble, folder: Path) -> EnsembleMeasured:
    """What the trainer finds alone, with one thread as the workers of the tests."""
    members = []
    with plant.shop.look() as session:
        spec = parse_as(ScoringSpec, json.dumps(session.get_one(Job, ensemble.job_id).spec))
        for id in spec.members.ids:
            path = folder / id
            blobs.fetch(plant.engine, snapshots.get(session, id).sha256, path)
            members.append((id, path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        events = list(score(spec, data.load("mnist5k"), members, device=torch.device("cpu")))
    finally:
        torch.set_num_threads(threads)
    (found,) = (event for event in events if isinstance(event, EnsembleMeasured))
    return found


def test_a_worker_finds_what_the_trainer_finds_alone(plant: Plant, tmp_path: Path) -> None:
    ids = trained(plant)

    ensemble = plant.shop.ensemble(ids, **GREEDY)
    plant.bell.ring("auto")
    await_true(lambda: job_of(plant.shop, ensemble).status is Status.SUCCEEDED, SECONDS)

    expected = undisturbed(plant, ensemble, tmp_path)
    with plant.shop.look() as session:
        found = ensembles.get(session, ensemble.id)
        members = ensembles.members(session, ensemble.id)
    assert found.report == json.loads(json.dumps(expected.report))
    assert found.accuracy == expected.report["accuracy"]
    assert [one.weight for one in members] == [share for share in expected.shares if share]
    job = job_of(plant.shop, ensemble)
    assert (job.step, job.steps_per_epoch, job.attempt) == (len(ids) + 10, len(ids) + 10, 1)
    assert kinds(plant.shop, job) == ["submitted", "started", "ensemble_scored", "succeeded"]


def test_damaged_weights_of_a_member_fail_the_scoring_and_are_told(plant: Plant) -> None:
    ids = trained(plant)
    with write(plant.engine) as session:
        damaged = snapshots.get(session, ids[1])
        session.execute(delete(BlobChunk).where(BlobChunk.sha256 == damaged.sha256))

    ensemble = plant.shop.ensemble(ids)
    plant.bell.ring("auto")
    await_true(lambda: job_of(plant.shop, ensemble).status is Status.FAILED, SECONDS)

    job = job_of(plant.shop, ensemble)
    assert (job.failure_code, job.attempt) == ("snapshot_damaged", 2)
    assert job.failure_message is not None
    assert job.failure_message.startswith("The stored weights of a member, snapshot 2 of its job, are damaged.")
    with plant.shop.look() as session:
        assert snapshots.get(session, ids[1]).sha256 == damaged.sha256
