"""Every random draw is a function of the seed, its purpose and a counter such as the step.

There is no running state, and so nothing to save: a training that goes on from step 1,234 draws what it would
have drawn.
"""

from hashlib import blake2b

import torch


def seed_for(seed: int, purpose: str, *counters: int) -> int:
    """A seed of 63 bits for one use, unrelated to those of all other uses."""
    words = "/".join([str(seed), purpose, *map(str, counters)])
    return int.from_bytes(blake2b(words.encode(), digest_size=8).digest(), "big") >> 1


def generator(device: torch.device | str, seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A generator on `device` for one use."""
    return torch.Generator(device).manual_seed(seed_for(seed, purpose, *counters))
