"""What training processes wrote: complete, in order, bounded."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.store import attempts, jobs, logs
from app.store.claims import Claim
from app.store.errors import Fenced
from app.store.logs import CHUNK_BYTES, FEWEST_BYTES, Extent, whole_characters
from app.store.models import LogChunk
from tests.shop import Shop

MOST = 1024 * 1024


def append(shop: Shop, claim: Claim, start: int, data: bytes, most: int = MOST) -> None:
    shop.act(logs.append, claim.job_id, claim.attempt, 60.0, start, data, most)


def text(shop: Shop, claim: Claim, start: int = 0, limit: int = MOST) -> bytes:
    with shop.look() as session:
        return b"".join(stretch.data for stretch in logs.read(session, claim.job_id, start, limit))


def last(shop: Shop, claim: Claim, lines: int) -> bytes:
    with shop.look() as session:
        start = logs.tail(session, claim.job_id, lines)
    return text(shop, claim, start)


def test_output_comes_back_in_order_in_few_chunks(shop: Shop) -> None:
    claim = shop.claimed()
    lines = [f"line {number}\n".encode() for number in range(3000)]
    whole = b"".join(lines)
    position = 0
    for number in range(0, 3000, 100):
        piece = b"".join(lines[number : number + 100])
        append(shop, claim, position, piece)
        position += len(piece)

    assert text(shop, claim) == whole
    assert text(shop, claim, 20_000, 5_000) == whole[20_000:25_000]
    with shop.look() as session:
        assert session.scalar(select(func.count()).select_from(LogChunk)) == -(-len(whole) // CHUNK_BYTES)
        assert logs.extent(session, claim.job_id) == Extent(0, len(whole))


def test_over_the_limit_the_oldest_goes_and_offsets_stay(shop: Shop) -> None:
    claim = shop.claimed()
    data = bytes(index % 251 for index in range(3 * FEWEST_BYTES))

    for start in range(0, len(data), 10_000):
        append(shop, claim, start, data[start : start + 10_000], FEWEST_BYTES)

    with shop.look() as session:
        first, end = vars(logs.extent(session, claim.job_id)).values()
    assert end == len(data)
    assert FEWEST_BYTES - CHUNK_BYTES <= end - first <= FEWEST_BYTES
    assert text(shop, claim) == data[first:]


def test_what_is_told_twice_is_stored_once(shop: Shop) -> None:
    claim = shop.claimed()

    append(shop, claim, 0, b"one\n")
    append(shop, claim, 0, b"one\n")
    append(shop, claim, 0, b"one\ntwo\n")

    assert text(shop, claim) == b"one\ntwo\n"


def test_a_closed_attempt_writes_nothing_and_the_next_goes_on_behind_it(shop: Shop) -> None:
    first = shop.claimed()
    append(shop, first, 0, b"first\n")
    shop.act(attempts.release, first.job_id, first.attempt)
    second = shop.claim()
    assert second is not None

    with pytest.raises(Fenced):
        append(shop, first, 6, b"too late\n")
    append(shop, second, 6, b"second\n")

    with shop.look() as session:
        found = logs.read(session, first.job_id, 0, MOST)
    assert [(stretch.attempt, stretch.start, stretch.data) for stretch in found] == [
        (1, 0, b"first\n"),
        (2, 6, b"second\n"),
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.lists(st.sampled_from(["a", "\n", "ü", "x" * 9000, "€\n"]), max_size=6), max_size=6),
    lines=st.integers(1, 8),
)
def test_the_last_lines_are_what_splitting_says(shop: Shop, pieces: list[list[str]], lines: int) -> None:
    claim = shop.claimed()
    data = b""
    for piece in pieces:
        fresh = "".join(piece).encode()
        append(shop, claim, len(data), fresh)
        data += fresh

    expected = b"".join(data.splitlines(keepends=True)[-lines:])
    assert last(shop, claim, lines) == expected
    shop.act(attempts.succeed, claim.job_id, claim.attempt)


def test_new_output_is_a_change_of_the_job(shop: Shop) -> None:
    claim = shop.claimed()
    before = shop.job(claim.job_id).version

    append(shop, claim, 0, b"news\n")

    assert shop.job(claim.job_id).version == before + 1


def test_a_deleted_job_leaves_no_output(shop: Shop) -> None:
    claim = shop.claimed()
    append(shop, claim, 0, b"words\n")
    shop.act(attempts.succeed, claim.job_id, claim.attempt)

    shop.act(jobs.delete, claim.job_id)

    with shop.look() as session:
        assert session.scalar(select(func.count()).select_from(LogChunk)) == 0


@given(st.text(), st.integers(0, 20))
def test_characters_are_cut_between_and_never_within(words: str, at: int) -> None:
    part = words.encode()[:at]

    whole = part[: whole_characters(part)]

    assert words.startswith(whole.decode())
    assert len(part) - len(whole) < 4


@given(st.binary(max_size=12))
def test_bytes_that_are_no_text_wait_for_three_more_at_most(data: bytes) -> None:
    assert len(data) - whole_characters(data) <= 3
