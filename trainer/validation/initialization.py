"""What the way in which weights start demands of a network, and where it will hardly help."""

from collections.abc import Iterator, Sequence

from trainer.errors import Mistake, SpecWarning
from trainer.layers import Activation, BatchNormalization, Convolution, Layer, LayerRow, Linear, Residual, flat
from trainer.spec import (
    ConstantInitialization,
    DataDependentInitialization,
    FixupInitialization,
    FromImages,
    HeInitialization,
    LsuvInitialization,
    Network,
    OrthogonalInitialization,
    RandomWalkInitialization,
)
from trainer.validation.network import at

PLACE = "/network/initialization"


def mistakes(
    network: Network, layers: Sequence[Layer], rows: Sequence[LayerRow], train_count: int
) -> Iterator[Mistake]:
    """Everything that keeps the network, described by `layers`, from starting as asked."""
    chosen = network.initialization
    if isinstance(chosen, FromImages) and chosen.images > train_count:
        detail = f"{chosen.images} images are to be looked at, but the training split has {train_count}; use fewer."
        yield Mistake(f"{PLACE}/images", "larger_than_split", detail)
    match chosen:
        case RandomWalkInitialization(gain=None):
            yield from _gain_mistakes(layers)
        case DataDependentInitialization():
            yield from _data_dependent_mistakes(network, rows)
        case FixupInitialization():
            yield from _fixup_mistakes(network, layers, rows)


def warnings(network: Network, layers: Sequence[Layer], rows: Sequence[LayerRow]) -> Iterator[SpecWarning]:
    """What will hardly go as wished."""
    chosen = network.initialization
    match chosen:
        case ConstantInitialization():
            yield SpecWarning(
                PLACE,
                "symmetric_units",
                "With equal weights the units of a layer compute the same and stay identical for ever.",
            )
        case HeInitialization() if network.activation != "relu":
            yield SpecWarning(
                PLACE,
                "wrong_gain",
                f"He initialization is made for relu; xavier keeps the scale of {network.activation} units.",
            )
    norm = _first_norm(rows)
    if norm and isinstance(chosen, RandomWalkInitialization | LsuvInitialization):
        yield SpecWarning(
            PLACE,
            "scale_is_normalized",
            f"Batch norm in layer {norm.index} ({norm.name}) undoes the scales that {chosen.kind} chooses; use one of "
            "them alone.",
        )
    functions = _functions(layers)
    if isinstance(chosen, OrthogonalInitialization) and chosen.gain == 1 and "relu" in functions and not norm:
        yield SpecWarning(
            f"{PLACE}/gain",
            "wrong_gain",
            "Each relu layer halves what goes through it, which gain 1 does not make up for; use gain: 1.414.",
        )
    others = sorted(functions - {"relu"})
    if any(isinstance(layer, Residual) for layer in flat(layers)):
        others.append("residual branches")
    if isinstance(chosen, DataDependentInitialization) and chosen.between_layers and others:
        yield SpecWarning(
            f"{PLACE}/between_layers",
            "not_homogeneous",
            "Scaling between layers counts on relu layers in a row, where twice the input gives twice the output; with "
            f"{' and '.join(others)} means and paces come out only roughly; use between_layers: false.",
        )


def _gain_mistakes(layers: Sequence[Layer]) -> Iterator[Mistake]:
    others = sorted(_functions(layers) - {"relu"})
    if others:
        tip = " (the paper finds 1.1 to 1.3 good for tanh)" if "tanh" in others else ""
        yield Mistake(
            f"{PLACE}/gain",
            "unknown_gain",
            "Random walk initialization has a formula for relu and for no nonlinearity, none for "
            f"{' and '.join(others)}; give the gain{tip}, or use relu or xavier.",
        )


def _data_dependent_mistakes(network: Network, rows: Sequence[LayerRow]) -> Iterator[Mistake]:
    if norm := _first_norm(rows):
        yield Mistake(
            at(network, norm, "batch_norm"),
            "data_dependent_with_batch_norm",
            f"Batch norm in layer {norm.index} ({norm.name}) would undo what data_dependent initialization sets; use "
            "batch_norm: null, or he.",
        )
        return
    kinds = (Convolution.__name__, Linear.__name__)
    bare = next((row for row in rows if row.kind in kinds and not row.biases), None)
    if bare:
        yield Mistake(
            at(network, bare, "initialization"),
            "no_biases",
            f"Data_dependent initialization sets biases, and layer {bare.index} ({bare.name}) has none; give it bias: "
            "true, or use lsuv.",
        )


def _fixup_mistakes(network: Network, layers: Sequence[Layer], rows: Sequence[LayerRow]) -> Iterator[Mistake]:
    if norm := _first_norm(rows):
        yield Mistake(
            at(network, norm, "batch_norm"),
            "fixup_with_batch_norm",
            f"Fixup takes the place of batch norm, which stands in layer {norm.index} ({norm.name}); use batch_norm: "
            "null, or he.",
        )
    residuals = [layer for layer in flat(layers) if isinstance(layer, Residual)]
    if not residuals:
        detail = "Fixup scales the branches of residual networks, and this one has none; use kind: resnet, or he."
        yield Mistake(PLACE, "no_residual_branches", detail)
    for residual in residuals:
        if not any(isinstance(layer, Convolution | Linear) for layer in residual.branch):
            detail = (
                f"Fixup starts branches at zero, and that of {residual.name} has no weights; give it a convolution."
            )
            yield Mistake(PLACE, "no_weights_in_branch", detail)


def _functions(layers: Sequence[Layer]) -> set[str]:
    return {layer.function for layer in flat(layers) if isinstance(layer, Activation)}


def _first_norm(rows: Sequence[LayerRow]) -> LayerRow | None:
    return next((row for row in rows if row.kind == BatchNormalization.__name__), None)
