"""Spec files: YAML as JSON has it, and lines for mistakes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.document import Document, read
from trainer.errors import Mistake, SpecInvalid


def written(folder: Path, text: str) -> Document:
    path = folder / "spec.yaml"
    path.write_text(text)
    return read(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SpecInvalid) as caught:
        written(folder, text)
    return caught.value.mistakes[0].detail


def test_plain_values_mean_what_they_mean_in_json(tmp_path: Path) -> None:
    text = "a: 5e-4\nb: 1.0e-5\nc: 2020-01-01\nd: yes\ne: true\nf: null\ng: 010\nh: [1, -2.5]\ni: 1_000\nj: ''\nk:\n"

    found = json.loads(written(tmp_path, text).json)

    assert found == {
        "a": 5e-4,
        "b": 1e-5,
        "c": "2020-01-01",
        "d": "yes",
        "e": True,
        "f": None,
        "g": "010",
        "h": [1, -2.5],
        "i": "1_000",
        "j": "",
        "k": None,
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=8,
    )
)
def test_json_files_are_read_as_they_are(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "spec.json"
    path.write_text(json.dumps({"x": value}))

    assert json.loads(read(path).json) == {"x": value}


def test_a_mistake_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    found = written(tmp_path, "name: x\nnetwork:\n  kind: mlp\n  hidden:\n    - 3\n    - 0\n")

    line = found.complaint(Mistake("/network/hidden/1", "code", "Too small."))

    assert line == f"{tmp_path}/spec.yaml:6: /network/hidden/1: Too small."


def test_a_missing_value_is_told_at_what_should_hold_it(tmp_path: Path) -> None:
    found = written(tmp_path, "name: x\nnetwork:\n  hidden: [3]\n")

    assert found.line("/network/kind") == 2
    assert found.line("/schedule") == 1
    assert found.line("") == 1


def test_lines_are_found_in_json_too(tmp_path: Path) -> None:
    found = written(tmp_path, '{\n "a/b": 1,\n "network":\n  {"kind": "x"}\n}')

    assert found.line("/a~1b") == 2
    assert found.line("/network/kind") == 4


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\na: 2\n", ":2:1: the key 'a' stands twice"),
        ("a: [1\n", "spec.yaml:2:1: while parsing a flow sequence, expected"),
        ("a:\t- b: c: d\n", "spec.yaml:1:"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: .nan\n", "NaN, an infinity"),
        ("a: .inf\n", "NaN, an infinity"),
        ("a: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        ("? [1, 2]\n: x\n", "keys must be plain words"),
        ("a: &x [*x]\n", "spec.yaml"),
        ("x: " + "[" * 5000, "spec.yaml"),
        ("x: " + "y" * 1_100_000, "larger than 1024 KiB"),
    ],
)
def test_a_file_that_cannot_be_a_spec_is_refused_with_the_place(tmp_path: Path, text: str, part: str) -> None:
    assert part in refusal(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SpecInvalid, match="not UTF-8"):
        read(path)
