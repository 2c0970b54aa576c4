"""Draws as functions of seed, purpose and counters."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.randomness import generator, seed_for

counters = st.lists(st.integers(0, 2**40), max_size=3)


@given(st.integers(0, 2**53), st.text(max_size=10), counters)
def test_a_seed_is_a_function_that_fits_a_generator(seed: int, purpose: str, counts: list[int]) -> None:
    assert seed_for(seed, purpose, *counts) == seed_for(seed, purpose, *counts)
    assert 0 <= seed_for(seed, purpose, *counts) < 2**63


def test_every_part_of_the_name_of_a_draw_changes_it() -> None:
    seeds = {seed_for(1, "order", 1), seed_for(2, "order", 1), seed_for(1, "dropout", 1), seed_for(1, "order", 2)}
    seeds |= {seed_for(1, "order"), seed_for(1, "order", 1, 1), seed_for(11, "order")}

    assert len(seeds) == 7


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()

    torch.rand(3, generator=generator("cpu", 1, "x"))

    assert torch.equal(torch.get_rng_state(), before)
