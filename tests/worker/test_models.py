"""Networks in memory: loaded once, bounded in bytes, and what becomes of questions in a batch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import Engine

from app.questions import Member, Model, Question, unpacked
from app.store import blobs
from app.store import engine as engines
from app.store.errors import BlobDamaged
from tests.specs import spec
from trainer import build, snapshot
from trainer.evaluate import log_probabilities
from worker import prediction
from worker.inbox import Asked
from worker.models import Models

CPU = torch.device("cpu")
SHAPE = (1, 28, 28)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Engine]:
    engine = engines.create(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(database: Engine, tmp_path: Path) -> Callable[..., str]:
    """Stores a network whose weights are drawn from `seed`, and gives its file's hash."""

    def stored(seed: int, *, scale: float = 0.05) -> str:
        wish = spec()
        model = build.skeleton(wish, SHAPE, 10)
        draws = torch.Generator().manual_seed(seed)
        weights = {
            name: scale * torch.randn(value.shape, generator=draws) for name, value in model.state_dict().items()
        }
        weights["preprocessing.std"] = torch.ones_like(weights["preprocessing.std"])
        provenance = {"spec": wish.model_dump(mode="json"), "input_shape": SHAPE, "classes": list("0123456789")}
        path = tmp_path / f"{seed}.safetensors"
        snapshot.write(path, weights, provenance)
        return blobs.put(database, path)

    return stored


def models(database: Engine, folder: Path, most_bytes: int = 10**9) -> Models:
    return Models(database, folder, CPU, most_bytes)


def asked(hashes: Sequence[str], images: Any, **changes: Any) -> Asked:
    members = tuple(Member(snapshot_id=f"snap_{hash[:4]}", sha256=hash, weight=1.0) for hash in hashes)
    model = Model(members=members, **changes)
    question = Question(id=str(id(images)), reply="r", seconds=9, model=model, shape=images.shape, members=True)
    return Asked(b"1-0", question, images)


def images(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def test_a_network_is_loaded_once_and_leaves_no_file(
    database: Engine, store: Callable[..., str], tmp_path: Path
) -> None:
    hash, folder = store(1), tmp_path / "scratch"
    folder.mkdir()
    kept = models(database, folder)

    first = kept.get(hash)

    assert kept.get(hash) is first
    assert list(folder.iterdir()) == []
    assert not first.training


def test_the_least_recently_used_goes_where_memory_would_not_suffice(
    database: Engine, store: Callable[..., str], tmp_path: Path
) -> None:
    hashes = [store(seed) for seed in (1, 2, 3)]
    size = sum(value.nbytes for value in models(database, tmp_path).get(hashes[0]).state_dict().values())
    kept = models(database, tmp_path, 2 * size)

    first, second = kept.get(hashes[0]), kept.get(hashes[1])
    kept.get(hashes[0])
    kept.get(hashes[2])

    assert kept.kept_bytes == 2 * size
    assert kept.get(hashes[0]) is first
    assert kept.get(hashes[1]) is not second


def test_a_network_larger_than_all_that_may_be_kept_still_answers(
    database: Engine, store: Callable[..., str], tmp_path: Path
) -> None:
    kept = models(database, tmp_path, 10)

    assert kept.get(store(1)) is not None
    assert kept.kept_bytes == 0


def test_a_file_that_is_gone_or_no_snapshot_is_damaged(database: Engine, tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"noise")
    kept = models(database, tmp_path)

    for hash in ("0" * 64, blobs.put(database, path)):
        with pytest.raises(BlobDamaged):
            kept.get(hash)


def test_questions_of_one_batch_get_each_their_own_answers(
    database: Engine, store: Callable[..., str], tmp_path: Path
) -> None:
    hashes, kept = [store(1), store(2)], models(database, tmp_path)
    questions = [asked(hashes, images(count, count)) for count in (3, 1, 2)]

    answers = list(prediction._answers(kept, questions, CPU))

    for one, answer in zip(questions, answers, strict=True):
        head, found = unpacked(answer)
        assert found is not None
        assert found.probabilities is not None
        assert found.members is not None
        alone = [log_probabilities(kept.get(hash), torch.tensor(one.images)).exp().numpy() for hash in hashes]
        assert head.id == one.question.id
        np.testing.assert_allclose(found.members, alone, atol=1e-6)
        np.testing.assert_allclose(found.probabilities, np.mean(alone, axis=0), atol=1e-6)
        np.testing.assert_array_equal(found.classes, found.probabilities.argmax(1))


def test_a_vote_has_classes_and_no_probabilities(database: Engine, store: Callable[..., str], tmp_path: Path) -> None:
    question = asked([store(1), store(2), store(3)], images(4), combine="majority_vote")

    (answer,) = prediction._answers(models(database, tmp_path), [question], CPU)

    head, found = unpacked(answer)
    assert head.is_vote
    assert found is not None
    assert found.probabilities is None
    assert found.members is not None
    assert found.members.shape == (3, 4, 10)


def test_a_member_that_predicts_no_numbers_fails_its_question_alone(
    database: Engine, store: Callable[..., str], tmp_path: Path
) -> None:
    question = asked([store(1, scale=1e38)], images(2))

    (answer,) = prediction._answers(models(database, tmp_path), [question], CPU)

    head, found = unpacked(answer)
    assert (head.failure, found) == ("not_finite", None)
    assert question.question.model.members[0].snapshot_id in head.detail


def test_batches_are_of_one_model_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "MOST_IMAGES", 4)
    one, other = ["a" * 64], ["b" * 64]
    questions = [asked(one, images(3)), asked(other, images(1)), asked(one, images(1)), asked(one, images(9))]

    found = [[questions.index(each) for each in batch] for batch in prediction._batches(questions)]

    assert found == [[0, 2], [3], [1]]
