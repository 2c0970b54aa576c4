"""How many weights prunings leave, by arithmetic."""

from collections.abc import Iterator, Sequence

from trainer.layers import Convolution, LayerRow, Linear
from trainer.spec import LotteryTicket

PRUNED_KINDS = {Convolution.__name__, Linear.__name__}


def shares(pruning: LotteryTicket, rows: Sequence[LayerRow]) -> Iterator[tuple[str, int, float]]:
    """What is pruned together: its name, its weights, and the share of those left that a round prunes."""
    pruned = [row for row in rows if row.kind in PRUNED_KINDS]
    if pruning.scope == "global":
        yield "the network", sum(row.weights for row in pruned), pruning.rate
        return
    for row in pruned:
        yield f"layer {row.index} ({row.name})", row.weights, layer_rate(pruning, is_output=row is pruned[-1])


def layer_rate(pruning: LotteryTicket, *, is_output: bool) -> float:
    """The rate of a layer that is pruned by itself: half for the output layer (Frankle and Carbin 2019)."""
    return pruning.rate / 2 if is_output else pruning.rate


def count(left: int, rate: float) -> int:
    """How many of `left` weights a round prunes."""
    return round(left * rate)


def left(weights: int, rate: float, rounds: int) -> int:
    """How many of `weights` stay after `rounds`."""
    for _ in range(rounds):
        weights -= count(weights, rate)
    return weights
