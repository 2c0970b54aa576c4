"""What is wrong with how a network starts, told from the statistics of its layers before the first step."""

from collections.abc import Iterator, Sequence

from trainer.events import LayerStatistics, LintFound

VANISHED = 1e-3
EXPLODED = 1e3
MOST_DEAD = 0.5
MOST_SATURATED = 0.5


def lint(layers: Sequence[LayerStatistics], *, are_zeros_meant: bool = False) -> Iterator[LintFound]:
    """Each layer but the last that starts badly, with the number that shows it and what would help.

    Where zeros are meant, as in the branches of Fixup, a layer that puts out nothing else is no fault.
    """
    for layer in layers[:-1]:
        if are_zeros_meant and layer.activations.std == 0:
            continue
        for code, sentence in _faults(layer):
            yield LintFound(layer.name, code, f"Layer {layer.index} ({layer.name}): {sentence}")


def _faults(layer: LayerStatistics) -> Iterator[tuple[str, str]]:
    std = layer.activations.std
    remedy = "try xavier or he initialization, or batch norm."
    if std is None:
        yield "exploding", f"its outputs explode (std not finite); {remedy}"
    elif std > EXPLODED:
        yield "exploding", f"its outputs explode (std {std:.1e}); {remedy}"
    elif std < VANISHED:
        yield "vanishing", f"its outputs have vanished (std {std:.1e}); {remedy}"
    if layer.dead is not None and layer.dead > MOST_DEAD:
        yield (
            "dead",
            f"{layer.dead:.0%} of its units are dead: they put out zero for every image; try he initialization.",
        )
    if layer.saturated is not None and layer.saturated > MOST_SATURATED:
        detail = f"{layer.saturated:.0%} of its outputs are saturated, where the gradient is nearly zero"
        yield "saturated", f"{detail}; try xavier initialization, or batch norm."
    if layer.symmetric:
        yield "symmetric", "all its units have the same weights and will keep them; try any random initialization."
