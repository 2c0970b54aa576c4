"""Data sets on a worker's disk: fetched once, bounded, shared, mended."""

import threading
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import pytest

from app.store.datasets import PackFile
from worker.packs import Packs


class Store:
    """Blobs by their hash; counts what is fetched."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.fetched = 0

    def add(self, content: bytes) -> tuple[str, list[PackFile]]:
        """A data set of one file."""
        hash = sha256(content).hexdigest()
        self.contents[hash] = content
        return hash, [PackFile("train-images.npy", hash, len(content))]

    def fetch(self, hash: str, path: Path) -> Path:
        """As the ledger does."""
        self.fetched += 1
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(self.contents[hash])
        return partial.rename(path)


@pytest.fixture
def store() -> Store:
    """An empty store."""
    return Store()


def names(root: Path) -> set[str]:
    return {folder.name for folder in root.iterdir()}


def test_a_data_set_is_fetched_once(store: Store, tmp_path: Path) -> None:
    one = store.add(b"one")
    for _ in range(2):
        with Packs(tmp_path, 1000).taken(*one, store.fetch) as folder:
            assert (folder / "train-images.npy").read_bytes() == b"one"

    assert store.fetched == 1


@pytest.mark.parametrize("damage", [b"onE", b"on", b""])
def test_a_damaged_file_is_noticed_and_fetched_again(store: Store, tmp_path: Path, damage: bytes) -> None:
    """Also while it is in use, by one who goes on with what he has open."""
    one, packs = store.add(b"one"), Packs(tmp_path, 1000)
    with packs.taken(*one, store.fetch) as folder, (folder / "train-images.npy").open("rb") as before:
        path = folder / "train-images.npy"
        path.write_bytes(damage)
        with packs.taken(*one, store.fetch):
            assert path.read_bytes() == b"one"
        assert before.read() == damage


def test_the_least_recently_used_goes_when_there_is_too_much(store: Store, tmp_path: Path) -> None:
    sets, packs = [store.add(bytes([number]) * 100) for number in range(3)], Packs(tmp_path, 250)
    for one in (sets[0], sets[1], sets[0], sets[2]):
        with packs.taken(*one, store.fetch):
            pass

    assert names(tmp_path) == {sets[0][0], sets[2][0]}


def test_what_is_in_use_stays_however_much_it_is(store: Store, tmp_path: Path) -> None:
    sets, packs = [store.add(bytes([number]) * 100) for number in range(3)], Packs(tmp_path, 100)
    with ExitStack() as held:
        folders = [held.enter_context(Packs(tmp_path, 100).taken(*one, store.fetch)) for one in sets]
        packs.trim()
        assert [folder.name for folder in folders if (folder / "train-images.npy").exists()] == [h for h, _ in sets]

    assert len(names(tmp_path)) == 1


def test_many_may_take_and_remove_at_once(store: Store, tmp_path: Path) -> None:
    """With no room for anything idle, each end of a use removes what others are about to take."""
    one = store.add(b"x" * 1000)
    wrong: list[object] = []

    def use() -> None:
        for _ in range(30):
            try:
                with Packs(tmp_path, 0).taken(*one, store.fetch) as folder:
                    if (folder / "train-images.npy").read_bytes() != b"x" * 1000:
                        wrong.append("content")
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert names(tmp_path) == set()
