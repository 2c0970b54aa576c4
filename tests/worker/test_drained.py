"""A worker that an operator drains, and lets work again."""

import time

from sqlalchemy import select

from app.store import events, workers
from app.store.models import Attempt, Job
from app.store.states import Status
from tests.servers import await_true
from tests.worker.conftest import Plant
from tests.worker.watching import LONG, SECONDS, Undisturbed, assert_same, await_epoch, await_status


def who(plant: Plant, job: Job) -> list[str]:
    """The worker of each attempt at a job."""
    with plant.shop.look() as session:
        found = select(Attempt.worker_id).where(Attempt.job_id == job.id).order_by(Attempt.number)
        return list(session.scalars(found))


def drain(plant: Plant, id: str, is_drained: bool) -> None:
    plant.shop.act(lambda session: workers.drain(session, id, is_drained=is_drained))


def test_a_drained_worker_hands_its_job_back_to_others_and_takes_none_until_it_may(
    own_plant: Plant, undisturbed: Undisturbed
) -> None:
    plant = own_plant
    job = plant.shop.submit(**LONG)
    plant.bell.ring("auto")
    await_epoch(plant.shop, job, 3)
    (first,) = who(plant, job)

    drain(plant, first, True)
    await_true(lambda: plant.shop.job(job.id).status is Status.QUEUED, SECONDS)
    with plant.another():
        await_status(plant.shop, job, Status.SUCCEEDED)

    assert_same(plant.shop, job, undisturbed)
    assert who(plant, job)[0] == first
    assert first not in who(plant, job)[1:]
    with plant.shop.look() as session:
        (told,) = (event.message for event in events.after(session, job.id, 0, 100) if event.kind == "released")
    assert told.startswith(
        "An operator drained the worker; the training was stopped and handed back; it will go on from"
    )

    later = plant.shop.submit()
    plant.bell.ring("auto")
    # Longer than it would take to hear the bell.
    time.sleep(1.5)
    assert plant.unheard("auto") == 1
    drain(plant, first, False)
    await_status(plant.shop, later, Status.SUCCEEDED)
    assert who(plant, later) == [first]
    assert plant.unheard("auto") == 0
