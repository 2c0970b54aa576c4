"""Predictions over HTTP, with a worker that says of each image what its first pixel is."""

import asyncio
import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image
from sqlalchemy.orm import Session

from app import catalogue as catalogues
from app.catalogue import Catalogue
from app.errors import Problem
from app.predictor import Predictor
from app.questions import ALIVE, Failure, Found, Model, packed, packed_failure
from app.settings import Settings
from app.store import serving
from app.store.ensembles import NewEnsemble
from app.store.serving import Served
from tests.api.conftest import Api
from tests.servers import Valkey, await_true
from trainer.events import Scores, VoteScores
from worker.inbox import Asked, Inbox

Reply = Callable[[Asked], bytes]


def first_pixel(asked: Asked) -> bytes:
    """A distribution that is sure of the class with the number of the first pixel; members say so too."""
    classes = asked.images[:, 0, 0, 0].astype(np.int64)
    sure = np.eye(10)[classes]
    members = np.stack([sure] * len(asked.question.model.members)) if asked.question.members else None
    return packed(asked.question.id, Found(classes=classes, probabilities=sure, members=members))


def failing(failure: Failure) -> Reply:
    return lambda asked: packed_failure(asked.question.id, failure, "Because.")


@contextmanager
def worker(valkey: Valkey, reply: Reply = first_pixel) -> Iterator[Inbox]:
    """A prediction worker without any network."""
    inbox, stop = Inbox(valkey.url, "fake"), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            inbox.answer([(asked, reply(asked)) for asked in inbox.take()])

    threads = [threading.Thread(target=serve), threading.Thread(target=inbox.beat, args=(stop,))]
    for thread in threads:
        thread.start()
    with redis.Redis.from_url(valkey.url) as broker:
        await_true(lambda: bool(broker.exists(ALIVE)), 5)
    try:
        yield inbox
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        inbox.close()


def images(*values: int) -> np.ndarray[Any, Any]:
    """Images (N, 1, 28, 28), each of one value."""
    return np.stack([np.full((1, 28, 28), value, np.uint8) for value in values])


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (28, 28), value).save(file, "PNG")
    return file.getvalue()


def snapshot(api: Api) -> str:
    (id,) = api.shop.snapshots(api.shop.trained(snapshots=1))
    return id


def post(api: Api, path: str, content: bytes, kind: str = "application/x-npy", **query: Any) -> httpx.Response:
    return api.http.post(f"/v1/{path}/predict", content=content, headers={"Content-Type": kind}, params=query)


def place(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()["errors"][0]
    return found


def test_one_image_is_answered_with_its_label_and_the_likeliest_classes(api: Api, valkey: Valkey) -> None:
    id = snapshot(api)
    with worker(valkey):
        answer = post(api, f"snapshots/{id}", npy(images(7)), top_k=2)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "id": id,
        "classes": list("0123456789"),
        "items": [
            {
                "index": 0,
                "label": "7",
                "probabilities": [0.0] * 7 + [1.0, 0.0, 0.0],
                "top": [{"label": "7", "probability": 1.0}, {"label": "0", "probability": 0.0}],
                "disagreement": None,
                "members": None,
            }
        ],
    }


def test_many_images_of_every_kind_of_body_are_answered_in_their_order(api: Api, valkey: Valkey) -> None:
    path = f"/v1/snapshots/{snapshot(api)}/predict"
    files = [png(value) for value in (3, 1, 4)]
    with worker(valkey):
        answers = [
            api.http.post(path, files=[("images", ("x", file)) for file in files]),
            api.http.post(path, json={"images": [base64.b64encode(file).decode() for file in files]}),
            api.http.post(path, content=npy(images(3, 1, 4)), headers={"Content-Type": "application/octet-stream"}),
            api.http.post(path, content=npy(images(3, 1, 4)[:, 0]), headers={"Content-Type": "application/x-npy"}),
        ]

    assert [[item["label"] for item in answer.json()["items"]] for answer in answers] == [["3", "1", "4"]] * 4


def test_an_ensemble_is_asked_with_its_shares(api: Api, valkey: Valkey) -> None:
    claim = api.shop.trained(snapshots=3, end=False)
    scores = Scores(0.9, 0.1, 0.3)
    made = NewEnsemble("snapshots", [(2, 0.25), (3, 0.75)], scores, scores, scores, VoteScores(0.9, 0.1))
    api.shop.record(claim, ensemble=made)
    ensemble = api.http.get(f"/v1/jobs/{claim.job_id}/ensemble").json()
    seen: list[Model] = []

    def reply(asked: Asked) -> bytes:
        seen.append(asked.question.model)
        return first_pixel(asked)

    with worker(valkey, reply):
        answer = post(api, f"ensembles/{ensemble['id']}", npy(images(5)), members=True)

    (item,) = answer.json()["items"]
    assert [(one.snapshot_id, one.weight) for one in seen[0].members] == [
        (one["snapshot_id"], one["weight"]) for one in ensemble["members"]
    ]
    assert (item["label"], item["disagreement"], len(item["members"])) == ("5", 0.0, 2)


def test_an_ensemble_that_is_not_scored_yet_is_refused(api: Api) -> None:
    ensemble = api.shop.ensemble(api.shop.snapshots(api.shop.trained()))

    answer = post(api, f"ensembles/{ensemble.id}", npy(images(5)))

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:annealer:problem:not-scored"


@pytest.mark.parametrize("path", ["snapshots/snap_none", "ensembles/ens_none"])
def test_what_is_not_there_is_not_found(api: Api, path: str) -> None:
    assert post(api, path, npy(images(1))).status_code == 404


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"no array", "no npy file"),
        (npy(images(1).astype(np.float32)), "float32"),
        (npy(np.zeros((1, 3, 28, 28), np.uint8)), "1×3×28×28"),
        (npy(np.zeros((0, 1, 28, 28), np.uint8)), "no images"),
        (npy(np.array([{}], object)), "object"),
        (npy(images(1))[:-1], "another size"),
        (npy(images(1)).replace(b"(1, 1, 28, 28), }", b"(9999999, 1, 28, 28), }"), "another size"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_with_the_reason(api: Api, body: bytes, detail: str) -> None:
    found = place(post(api, f"snapshots/{snapshot(api)}", body), 422)

    assert detail in found["detail"]


def test_images_that_cannot_be_read_are_named_by_their_places(api: Api) -> None:
    files = [("images", ("x", content)) for content in (png(1), b"GIF89a", png(2), png(3)[:40])]

    answer = api.http.post(f"/v1/snapshots/{snapshot(api)}/predict", files=files)

    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/images/1", "/images/3"]
    assert all(one["detail"] for one in answer.json()["errors"])


def test_a_huge_image_in_a_small_file_is_refused_before_it_is_decoded(api: Api) -> None:
    file = io.BytesIO()
    Image.new("1", (5000, 5000)).save(file, "PNG")

    found = place(post(api, f"snapshots/{snapshot(api)}", file.getvalue(), "image/png"), 422)

    assert found["code"] == "image_too_large"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"images": []}', "application/json", 422),
        (b'{"images": ["%%"]}', "application/json", 422),
        (b'{"pictures": []}', "application/json", 422),
        (b"--x\r\n\r\n", "multipart/form-data", 422),
        (b"x", "text/plain", 415),
        (b"x", "", 415),
    ],
)
def test_a_body_that_cannot_be_understood_is_refused(api: Api, content: bytes, kind: str, status: int) -> None:
    answer = post(api, f"snapshots/{snapshot(api)}", content, kind)

    assert answer.status_code == status, answer.text


def test_files_of_a_form_need_the_name_images(api: Api) -> None:
    answer = api.http.post(f"/v1/snapshots/{snapshot(api)}/predict", files=[("picture", ("x", png(1)))])

    assert "`images`" in place(answer, 422)["detail"]


@pytest.mark.parametrize(
    ("failure", "status"),
    [("unavailable", 503), ("out_of_memory", 503), ("crashed", 503), ("damaged", 409), ("not_finite", 409)],
)
def test_what_a_worker_cannot_do_is_told(api: Api, valkey: Valkey, failure: Failure, status: int) -> None:
    with worker(valkey, failing(failure)):
        answer = post(api, f"snapshots/{snapshot(api)}", npy(images(1)))

    assert answer.status_code == status
    assert answer.json()["detail"] == "Because."
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_a_question_that_ends_workers_is_given_up_after_the_third(api: Api, valkey: Valkey) -> None:
    id = snapshot(api)
    dying = [Inbox(valkey.url, f"dying-{number}") for number in range(3)]
    stop = threading.Event()
    alive = threading.Thread(target=Inbox(valkey.url, "alive").beat, args=(stop,))
    alive.start()
    assert dying[0].take() == []
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(post(api, f"snapshots/{id}", npy(images(1)))))
    asking.start()
    for inbox in dying:
        await_true(lambda inbox=inbox: bool(inbox.take()), 10)  # type: ignore[misc]
    with worker(valkey):
        asking.join(10)
    stop.set()
    alive.join()

    assert answers[0].json()["type"] == "urn:annealer:problem:prediction-crashed"


def test_a_deleted_model_is_not_found_a_second_later(api: Api, valkey: Valkey) -> None:
    claim = api.shop.trained(snapshots=1)
    (id,) = api.shop.snapshots(claim)
    with worker(valkey):
        before = post(api, f"snapshots/{id}", npy(images(7)))
        api.http.delete(f"/v1/jobs/{claim.job_id}").raise_for_status()
        await_true(lambda: post(api, f"snapshots/{id}", npy(images(7))).status_code == 404, 5)

    assert before.status_code == 200


def test_a_model_is_looked_for_once_while_that_is_good(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    id = snapshot(api)
    looks: list[str] = []

    def find(session: Session, id: str) -> Served:
        looks.append(id)
        return serving.snapshot(session, id)

    async def ask(catalogue: Catalogue, times: int) -> set[Served]:
        return {await catalogue.get(find, id) for _ in range(times)}

    monkeypatch.setattr(catalogues, "GOOD_SECONDS", 60)
    once = asyncio.run(ask(Catalogue(api.shop.engine), 3))
    assert (len(once), len(looks)) == (1, 1)
    monkeypatch.setattr(catalogues, "GOOD_SECONDS", 0)
    asyncio.run(ask(Catalogue(api.shop.engine), 3))
    assert len(looks) == 4


def test_more_than_may_wait_is_refused_and_room_is_made_again(valkey: Valkey) -> None:
    settings = Settings(database_url="sqlite://", broker_url=valkey.url, predict_requests=2, predict_held_bytes=5000)

    async def fill() -> None:
        predictor = Predictor(settings)
        for sizes in ([1, 1], [3000, 2000]):
            with (
                predictor.room(sizes[0]),
                predictor.room(sizes[1]),
                pytest.raises(Problem) as refused,
                predictor.room(1),
            ):
                pass
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        with predictor.room(5000):
            pass
        await predictor.close()

    asyncio.run(fill())


def test_a_broker_that_is_away_is_told(valkey: Valkey) -> None:
    settings = Settings(database_url="sqlite://", broker_url="redis://127.0.0.1:1/0")

    async def ask() -> None:
        predictor = Predictor(settings)
        try:
            await predictor.ask(Model(members=()), images(1), members=False)
        finally:
            await predictor.close()

    with pytest.raises(Problem) as refused:
        asyncio.run(ask())
    assert (refused.value.status, refused.value.type) == (503, "broker-unavailable")
