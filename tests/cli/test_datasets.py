"""`annealer datasets`: people's data in, by hand."""

import json
from pathlib import Path

import pytest

from app import parcel
from app.client import Client, Invalid, NotFound, Refused
from tests import packs
from tests.cli.conftest import Run


def test_a_folder_is_added_listed_shown_and_deleted(annealer: Run, tmp_path: Path) -> None:
    packs.written(packs.images(), tmp_path / "My Pets")

    added = annealer("datasets", "add", "My Pets")
    assert added.returncode == 0, added.stderr
    assert "ready" in added.stdout
    shown = json.loads(annealer("datasets", "show", "my-pets", "--json").stdout)
    assert (shown["name"], shown["status"], shown["classes"]) == ("my-pets", "ready", ["cat", "dog"])
    assert shown["origin"]["container"] == "tar"
    assert shown["id"] in annealer("datasets").stdout
    assert annealer("datasets", "sample", "my-pets").stdout.strip() == "my-pets.png"
    assert (tmp_path / "my-pets.png").read_bytes().startswith(b"\x89PNG")
    again = annealer("datasets", "add", "My Pets", "--json")
    assert json.loads(again.stdout)["id"] == shown["id"]
    assert annealer("datasets", "delete", "my-pets").returncode == 0
    assert annealer("datasets", "show", "my-pets").returncode == 6


def test_a_hostile_file_is_refused_with_the_entrys_name(annealer: Run, client: Client, tmp_path: Path) -> None:
    files = packs.images() | {"../../etc/passwd": b"x", "train/cat/svg.png": b"<svg/>"}
    (tmp_path / "hostile.zip").write_bytes(packs.zipped(files))

    refused = annealer("datasets", "add", "hostile.zip")

    assert refused.returncode == 3
    assert "../../etc/passwd" in refused.stdout
    found = client.dataset("hostile")
    assert found.status == "failed"
    assert found.error is not None
    assert (found.error.status, found.error.errors[0].entry) == (422, "../../etc/passwd")
    client.delete_dataset("hostile")


def test_other_options_need_no_other_upload(annealer: Run, tmp_path: Path) -> None:
    large = packs.images(side=9)
    files = packs.images() | {name: large[name] for name in list(large)[:1]}
    (tmp_path / "mixed.zip").write_bytes(packs.zipped(files))

    refused = annealer("datasets", "add", "mixed.zip")
    added = annealer("datasets", "add", "mixed.zip", "--size", "8", "--json")

    assert "Add it again with --size, such as --size 64" in refused.stdout
    assert (refused.returncode, added.returncode) == (3, 0), added.stderr
    assert json.loads(added.stdout)["shape"] == [1, 8, 8]
    annealer("datasets", "delete", "mixed")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--size", "8by8"], "--size is HEIGHTxWIDTH"),
        (["--validation", "2"], "--split.stratified.validation"),
        (["--name", "Pets"], "/name"),
    ],
)
def test_bad_options_are_named(annealer: Run, tmp_path: Path, options: list[str], told: str) -> None:
    (tmp_path / "pets.zip").write_bytes(packs.zipped(packs.images()))

    answer = annealer("datasets", "add", "pets.zip", *options)

    assert answer.returncode == 2
    assert told in answer.stderr


def test_a_link_in_a_folder_is_not_sent(annealer: Run, tmp_path: Path) -> None:
    folder = packs.written(packs.images(), tmp_path / "pets")
    (folder / "train/cat/link.png").symlink_to("/etc/passwd")

    answer = annealer("datasets", "add", "pets")

    assert answer.returncode == 2
    assert "link.png is a link" in answer.stderr


def test_a_folder_is_the_same_tar_whenever_it_is_sent(tmp_path: Path) -> None:
    one = parcel.pack(packs.written(packs.images(), tmp_path / "one" / "pets"))
    two = parcel.pack(packs.written(dict(reversed(packs.images().items())), tmp_path / "two" / "pets"))

    assert (one.name, one.sha256, one.size) == ("pets.tar", two.sha256, two.size)
    parts = list(one.parts(1000))
    assert {len(part) for part in parts[:-1]} == {1000}
    assert sum(map(len, parts)) == one.size


def test_the_client_tells_what_it_cannot_have(client: Client) -> None:
    with pytest.raises(NotFound):
        client.dataset("none")
    with pytest.raises(Refused):
        client.delete_dataset("mnist5k")
    with pytest.raises(Invalid):
        client.make_dataset({"kind": "upload", "upload": "up_none"}, "none")
