"""Paths of entries: a few words of what is taken, and what holds for all of them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.datasets.limits import Limits
from trainer.datasets.names import BadName, clean, folded, is_litter, printable

LIMITS = Limits()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("cat/1.png", "cat/1.png"),
        ("./cat/1.png", "cat/1.png"),
        ("cat/", "cat"),
        ("cat/..1.png", "cat/..1.png"),
        ("字/1 (2).png", "字/1 (2).png"),
        ("a\u200cb/1.png", "a\u200cb/1.png"),
        ("e\u0301/1.png", "é/1.png"),
    ],
)
def test_ordinary_paths_are_taken(name: str, kept: str) -> None:
    assert clean(name, LIMITS) == kept


@given(st.text(alphabet=st.sampled_from("a.b/\\:é\u0301\u202e\0 ~C"), max_size=12))
def test_what_is_taken_is_relative_plain_and_cleaned_once(name: str) -> None:
    try:
        kept = clean(name, LIMITS)
    except BadName:
        return
    assert clean(kept, LIMITS) == kept
    assert not kept.startswith("/")
    assert not {"", ".", ".."} & set(kept.split("/"))
    assert not set("\\\0\u202e") & set(kept)


@given(st.text(max_size=300))
def test_whatever_is_shown_can_be_seen(name: str) -> None:
    shown = printable(name)

    assert len(shown) <= 1300
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") for char in shown)
    shown.encode()


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("ﬁsh", "fish"), ("é", "e\u0301"), ("STRASSE", "straße")])
def test_names_that_may_be_taken_for_each_other_fold_to_the_same(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize("name", [".DS_Store", "cat/._1.png", "__MACOSX/cat/1.png", ".git/x", "cat/Thumbs.db"])
def test_what_is_hidden_or_left_behind_is_litter(name: str) -> None:
    assert is_litter(name)


@pytest.mark.parametrize("name", ["cat/1.png", "a.b/c.png", "Thumbs.dbx", "my__MACOSX/1.png"])
def test_what_only_looks_like_it_is_not(name: str) -> None:
    assert not is_litter(name)
