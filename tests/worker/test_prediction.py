"""Predictions over HTTP, the broker and a real prediction worker."""

import base64
import io
import math
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
import torch
from PIL import Image

from app.api.schemas import PredictionsView
from app.client import Client, Invalid, ProblemError
from app.questions import ALIVE, STREAM
from tests.servers import Api, PredictionWorker, Template, Valkey, Worker, await_true
from tests.specs import document
from trainer import data, splits
from worker.inbox import Inbox

VALIDATION = data.load("gaussian").validation
"""Noise, whose 200 images cost little to send one by one; what is predicted for them does not matter."""
SECONDS = 60.0


@dataclass
class Service:
    """An API with its workers, a finished training and an ensemble of greedily chosen snapshots."""

    folder: Path
    database_url: str
    valkey: Valkey
    api: Api
    client: Client
    job: str
    greedy: str
    steady: PredictionWorker | None = None

    def worker(self, name: str = "another", **settings: str) -> PredictionWorker:
        return PredictionWorker(self.folder, self.database_url, self.valkey.url, name=name, **settings)


@pytest.fixture(scope="module")
def service(migrated: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("prediction")
    template: Template = migrated("sqlite")
    with (
        template.copy(folder) as database_url,
        Valkey(folder) as valkey,
        Api(folder, database_url, valkey.url, predict_seconds="12") as api,
        Client(api.url) as client,
    ):
        with Worker(folder, database_url, valkey.url):
            network = {"kind": "convnet", "channels": [4, 8], "batch_norm": {}}
            schedule = {"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 3}
            ensemble = {"kind": "snapshots", "last": 3}
            spec = document(dataset="gaussian", network=network, schedule=schedule, epochs=3, ensemble=ensemble)
            job = finished(client, client.submit(spec).id)
            wish = {
                "name": "greedy",
                "members": {"kind": "jobs", "ids": [job]},
                "select": {"kind": "greedy", "count": 10},
                "temperature": {},
            }
            greedy = client.make_ensemble(wish)
            finished(client, greedy.job_id)
        yield Service(folder, database_url, valkey, api, client, job, greedy.id)


def finished(client: Client, job: str) -> str:
    *_, last = client.watch(job)
    assert last.status == "succeeded", last.error
    return job


@pytest.fixture(scope="module")
def served(service: Service) -> Iterator[Service]:
    """The service with a prediction worker, until tests want it `quiet`."""
    with service.worker("steady") as service.steady:
        yield service


@pytest.fixture
def quiet(service: Service) -> Service:
    """The service without a prediction worker: none has said lately that it lives."""
    if service.steady:
        service.steady.stop()
    with redis.Redis.from_url(service.valkey.url) as broker:
        await_true(lambda: not broker.exists(ALIVE), 10)
    return service


def png(image: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def printed(found: Sequence[PredictionsView], labels: np.ndarray[Any, Any]) -> tuple[str, str]:
    """Accuracy and likelihood of answers, as the command prints scores."""
    items = [item for one in found for item in one.items]
    right = sum(item.label == str(label) for item, label in zip(items, labels, strict=True))
    likelihood = -sum(
        math.log(item.probabilities[label])
        for item, label in zip(items, labels, strict=True)
        if item.probabilities is not None
    )
    return f"{right / len(labels):.2%}", f"{likelihood / len(labels):.4f}"


@pytest.fixture(scope="module")
def stored(served: Service) -> tuple[str, str]:
    scores = served.client.ensemble(served.job).scores
    assert scores is not None
    assert scores.negative_log_likelihood is not None
    return f"{scores.accuracy:.2%}", f"{scores.negative_log_likelihood:.4f}"


def test_figures_tell_of_predictions(served: Service) -> None:
    before = figures(served)

    served.client.predict_array(served.job, VALIDATION.images[:5])
    with pytest.raises(ProblemError):
        served.client.predict_array(served.job, np.zeros((1, 1, 2, 2), np.uint8))

    after = figures(served)
    assert after["annealer_predicted_images_total"] - before["annealer_predicted_images_total"] == 5
    answered = 'annealer_prediction_seconds_count{problem="none"}'
    assert after[answered] - before[answered] == 1
    assert after["annealer_predictions_held"] == 0


def figures(service: Service) -> dict[str, float]:
    """What Prometheus reads of the API, by name and labels."""
    lines = httpx.get(f"{service.client.url}/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_answers_over_the_validation_split_in_one_batch_are_the_stored_score(
    served: Service, stored: tuple[str, str]
) -> None:
    found = served.client.predict_array(served.job, VALIDATION.images)

    assert printed([found], VALIDATION.labels) == stored


def test_image_files_sent_one_by_one_give_the_stored_score(served: Service, stored: tuple[str, str]) -> None:
    found = [served.client.predict(served.job, [png(image[0])]) for image in VALIDATION.images]

    assert printed(found, VALIDATION.labels) == stored


def test_clients_at_once_each_get_their_own_answers_and_the_stored_score(
    served: Service, stored: tuple[str, str]
) -> None:
    parts = np.array_split(VALIDATION.images, 50)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda images: served.client.predict_array(served.job, images), parts))

    assert printed(found, VALIDATION.labels) == stored


def test_a_greedy_ensemble_answers_with_its_shares_and_temperature(served: Service) -> None:
    ensemble = served.client.ensemble(served.greedy)
    assert ensemble.report is not None
    assert ensemble.report.temperature is not None
    half = splits.indices("validation/b", torch.tensor(VALIDATION.labels), 0).numpy()

    found = served.client.predict_array(served.greedy, VALIDATION.images[half])

    report = ensemble.report
    assert printed([found], VALIDATION.labels[half]) == (
        f"{report.accuracy:.2%}",
        f"{report.negative_log_likelihood:.4f}",
    )


def test_members_their_disagreement_and_the_likeliest_classes_are_told(served: Service) -> None:
    found = served.client.predict_array(served.job, VALIDATION.images[:50], members=True, top_k=2)
    ensemble = served.client.ensemble(served.job)

    for item in found.items:
        assert item.members is not None
        assert item.probabilities is not None
        assert [one.snapshot_id for one in item.members] == [one.snapshot_id for one in ensemble.members]
        mean = np.mean([one.probabilities for one in item.members], axis=0)
        np.testing.assert_allclose(item.probabilities, mean, rtol=0, atol=1e-12)
        assert [one.probability for one in item.top] == sorted(item.probabilities, reverse=True)[:2]
        labels = [one.label for one in item.members]
        differing = sum(one != other for place, one in enumerate(labels) for other in labels[:place])
        assert item.disagreement == differing / 3
    assert served.client.predict_array(served.job, VALIDATION.images[:1]).items[0].members is None


def test_a_snapshot_alone_answers_what_it_says_as_a_member(served: Service) -> None:
    image = VALIDATION.images[:1]
    (item,) = served.client.predict_array(served.job, image, members=True).items
    assert item.members is not None

    for member in item.members:
        (alone,) = served.client.predict_array(member.snapshot_id, image[0]).items
        assert alone.probabilities == pytest.approx(member.probabilities, abs=1e-12)


def test_every_kind_of_body_gives_the_same_answer(served: Service) -> None:
    image = VALIDATION.images[7, 0]
    url = f"{served.api.url}/v1/ensembles/{served.client.ensemble(served.job).id}/predict"
    array = io.BytesIO()
    np.save(array, image)
    answers = [
        httpx.post(url, files=[("images", ("7.png", png(image)))]),
        httpx.post(url, json={"images": [base64.b64encode(png(image)).decode()]}),
        httpx.post(url, content=png(image), headers={"Content-Type": "image/png"}),
        httpx.post(url, content=array.getvalue(), headers={"Content-Type": "application/x-npy"}),
    ]

    assert [answer.status_code for answer in answers] == [200] * 4, answers[0].text
    assert len({answer.text for answer in answers}) == 1


def test_colour_of_another_size_is_made_what_the_network_takes(served: Service) -> None:
    ramp = np.linspace(0, 255, 20 * 25).reshape(20, 25).astype(np.uint8)
    wide = Image.new("RGB", (25 * 3 + 40, 20 * 3))
    wide.paste(Image.fromarray(ramp).convert("RGB").resize((25 * 3, 20 * 3)), (20, 0))
    file = io.BytesIO()
    wide.save(file, "PNG")

    (seen,) = served.client.predict(served.job, [file.getvalue()]).items
    (plain,) = served.client.predict(served.job, [png(ramp)]).items
    (other,) = served.client.predict(served.job, [png(ramp[::-1])]).items

    assert seen.probabilities == pytest.approx(plain.probabilities, abs=0.05)
    assert plain.probabilities != pytest.approx(other.probabilities, abs=0.05)


def test_images_that_cannot_be_read_are_told_with_their_places(served: Service) -> None:
    good = png(VALIDATION.images[0, 0])

    with pytest.raises(Invalid) as refused:
        served.client.predict(served.job, [good, b"<svg/>", good, good[:60], b""])

    places = [(place.pointer, place.code) for place in refused.value.problem.errors]
    assert places == [("/images/1", "drawing"), ("/images/3", "damaged"), ("/images/4", "empty_file")]


def test_what_was_cached_is_dropped_when_other_models_need_the_room(quiet: Service) -> None:
    snapshots = quiet.client.snapshots(quiet.job)
    with quiet.worker("small", models_bytes="4000"):
        first = [quiet.client.predict_array(one.id, VALIDATION.images[:3]) for one in snapshots]
        again = [quiet.client.predict_array(one.id, VALIDATION.images[:3]) for one in snapshots]

    assert first == again


def test_without_a_prediction_worker_that_is_said_at_once(quiet: Service) -> None:
    with pytest.raises(ProblemError) as refused:
        quiet.client.predict_array(quiet.job, VALIDATION.images[:1], patience=0)

    assert refused.value.problem.status == 503
    assert refused.value.problem.type.endswith("no-prediction-worker")
    assert refused.value.retry_after > 0
    with redis.Redis.from_url(quiet.valkey.url) as broker:
        assert broker.xlen(STREAM) == 0


def test_what_a_dead_worker_held_is_answered_by_another(quiet: Service) -> None:
    doomed = Inbox(quiet.valkey.url, "doomed")
    with quiet.worker("rescuer") as rescuer, ThreadPoolExecutor(1) as pool:
        quiet.client.predict_array(quiet.job, VALIDATION.images[:1])
        rescuer.signal(signal.SIGSTOP)
        # Until the broker has given up waiting for it: else it would be handed the question.
        time.sleep(1.5)
        waiting = pool.submit(quiet.client.predict_array, quiet.job, VALIDATION.images[:4], patience=0)
        await_true(lambda: bool(doomed.take()), 10)
        rescuer.signal(signal.SIGCONT)
        found = waiting.result(SECONDS)

    assert len(found.items) == 4
    assert "questions of a lost worker are taken over" in rescuer.log.read_text()


def test_a_killed_worker_leaves_a_request_that_is_answered_or_refused_in_time(quiet: Service) -> None:
    with quiet.worker("killed") as killed, quiet.worker("other"), ThreadPoolExecutor(8) as pool:
        quiet.client.predict_array(quiet.job, VALIDATION.images[:1])
        waiting = [
            pool.submit(quiet.client.predict_array, quiet.job, VALIDATION.images[:20], patience=0) for _ in range(60)
        ]
        time.sleep(0.1)
        killed.kill()
        found = [one.result(SECONDS) for one in waiting]

    assert all(len(one.items) == 20 for one in found)


def test_a_request_that_nobody_answers_ends_within_its_deadline(quiet: Service) -> None:
    with quiet.worker("frozen") as frozen:
        quiet.client.predict_array(quiet.job, VALIDATION.images[:1])
        frozen.signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(ProblemError) as refused:
            quiet.client.predict_array(quiet.job, VALIDATION.images[:1], patience=0)
        took = time.monotonic() - began
        frozen.kill()

    assert refused.value.problem.status == 503
    assert took < 15
