"""A network as a user has put it together: names, shapes, order and size of its layers."""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod

from trainer.data import DataFacts
from trainer.errors import Mistake, SpecWarning
from trainer.layers import (
    Activation,
    BatchNormalization,
    Composite,
    Convolution,
    Drop,
    Flatten,
    Layer,
    LayerRow,
    Linear,
    LocalResponseNormalization,
    Pool,
    Residual,
    ShapeMismatch,
    names,
    parameters,
)
from trainer.networks import alexnet, layer_list, resnet, vgg
from trainer.parsing import pointer
from trainer.spec import AlexNet, BatchNorm, ConvNet, LayerList, Network, ResNet, TrainingSpec, Vgg

RESERVED_NAMES = re.compile(
    "branch|preprocessing|shortcut|"
    r"(add|call|dump|extra|get|load|named|register|requires|set|share|state|to|zero)_\w+|"
    "append|apply|bfloat16|branch|buffers|children|compile|cpu|cuda|double|eval|extend|float|forward|half|insert|ipu|modules|"
    "mtia|parameters|pop|to|train|training|type|xpu"
)
"""What no layer can be named: modules of ours, and what torch has in every module."""
SMALLEST_FOR_STEM = 64
"""Side of an image, in pixels, below which an ImageNet stem leaves less than 16×16."""
MOST_PARAMETERS = 10**9
SMALLEST_NORMALIZED_BATCH = 8


def mistakes(
    spec: TrainingSpec, facts: DataFacts, layers: Sequence[Layer], rows: tuple[LayerRow, ...]
) -> Iterator[Mistake]:
    """Everything but shapes that is wrong with the network, which is described by `layers` and `rows`."""
    yield from _place_mistakes(spec.network, layers)
    yield from _size_mistakes(rows)
    yield from _batch_norm_mistakes(spec, facts, rows)


def misfit(network: Network, mismatch: ShapeMismatch) -> Mistake:
    """A layer that does not fit, with what would help."""
    match network, mismatch.layer:
        case ConvNet(), Convolution():
            return Mistake(
                "/network/kernel_size",
                "shape_mismatch",
                f"{mismatch} Use a smaller kernel_size, more padding or fewer channels.",
            )
        case ConvNet(), Pool():
            remedy = "Use fewer entries in channels or a smaller pool_size (1 for none)."
            return Mistake("/network/pool_size", "shape_mismatch", f"{mismatch} {remedy}")
        case AlexNet(variant=variant), _:
            side = alexnet.SMALLEST_IMAGE[variant]
            remedy = f"This variant needs images of at least {side}×{side}"
            other = "; use variant: small." if variant == "imagenet" else "."
            return Mistake("/network/variant", "shape_mismatch", f"{mismatch} {remedy}{other}")
        case Vgg(), _:
            side = vgg.SMALLEST_IMAGE
            remedy = f"VGG needs images of at least {side}×{side}, its padding included; use more padding."
            return Mistake("/network/padding", "shape_mismatch", f"{mismatch} {remedy}")
        case LayerList(), layer:
            place = layer_list.places(network).get(mismatch.name, ("layers",))
            return Mistake(pointer("network", *place), "shape_mismatch", f"{mismatch} {_remedy(layer, mismatch)}")
    return Mistake("/network", "shape_mismatch", f"{mismatch} Use larger images or more padding.")


def warnings(spec: TrainingSpec, layers: Sequence[Layer], rows: Sequence[LayerRow]) -> Iterator[SpecWarning]:
    """What will hardly go as wished."""
    network = spec.network
    if isinstance(network.batch_norm, BatchNorm) and spec.batch_size < SMALLEST_NORMALIZED_BATCH:
        yield SpecWarning(
            "/batch_size",
            "noisy_batch_norm",
            f"Batch norm over {spec.batch_size} images is very noisy; use at least {SMALLEST_NORMALIZED_BATCH}.",
        )
    yield from _order_warnings(network, rows)
    if isinstance(network, ResNet) and resnet.stem(network) == "imagenet":
        _, height, width = rows[0].input_shape
        if min(height, width) < SMALLEST_FOR_STEM:
            detail = f"The imagenet stem leaves a quarter of the sides of {height}×{width} images; use stem: small."
            yield SpecWarning("/network/stem", "coarse_stem", detail)
    if isinstance(network, LayerList):
        for first, second in _collapsing(layers, ""):
            place = layer_list.places(network).get(second, ("layers",))
            yield SpecWarning(
                pointer("network", *place),
                "no_nonlinearity",
                f"Nothing nonlinear stands between {first} and {second}: together they can do no more than one of "
                "them; put an activation between.",
            )


def at(network: Network, row: LayerRow, field: str) -> str:
    """Where a layer of a list stands, else the field that it comes from."""
    if isinstance(network, LayerList) and row.name in (places := layer_list.places(network)):
        return pointer("network", *places[row.name])
    return pointer("network", field)


def _place_mistakes(network: Network, layers: Sequence[Layer]) -> Iterator[Mistake]:
    """Of stems, names, and layers that batch norm or dropout is to follow."""
    known = list(names(layers))
    if isinstance(network, ResNet) and network.stem == "imagenet" and network.depth not in resnet.BLOCKS:
        depths = ", ".join(map(str, resnet.BLOCKS))
        yield Mistake(
            "/network/stem",
            "unknown_choice",
            f"Depth {network.depth} has no imagenet stem; use stem: small, or one of the depths {depths}.",
        )
    if isinstance(network, LayerList):
        yield from _name_mistakes(network, known)
    for field, part in (("batch_norm", network.batch_norm), ("dropout", network.dropout)):
        for index, name in enumerate((part and part.after) or ()):
            if name not in known:
                place = pointer("network", field, "after", index)
                yield Mistake(place, "unknown_layer", f"There is no layer {name}{_nearest(name, known)}")


def _name_mistakes(network: LayerList, known: Sequence[str]) -> Iterator[Mistake]:
    places = layer_list.places(network)
    for name, count in Counter(known).items():
        place = pointer("network", *places.get(name, ("layers",)))
        if count > 1:
            yield Mistake(place, "duplicate_name", f"{count} layers are named {name}; give each a name of its own.")
        elif RESERVED_NAMES.fullmatch(name.rpartition(".")[2]):
            yield Mistake(place, "reserved_name", f"{name} means something else to torch; use another name.")


def _size_mistakes(rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
    total = parameters(rows)
    if total > MOST_PARAMETERS:
        largest = max(rows, key=lambda row: row.weights)
        yield Mistake(
            "/network",
            "too_large",
            f"This network has {total:,} parameters, more than {MOST_PARAMETERS:,}; layer {largest.index} "
            f"({largest.name}) alone has {largest.weights:,}.",
        )


def _batch_norm_mistakes(spec: TrainingSpec, facts: DataFacts, rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
    """One image with one value a channel has no variance."""
    last = facts.train_count % spec.batch_size if spec.last_batch == "keep" else 0
    if 1 not in (spec.batch_size, last):
        return
    for row in rows:
        if row.kind == BatchNormalization.__name__ and prod(row.input_shape[1:]) == 1:
            which = "Every batch" if spec.batch_size == 1 else "The last batch of an epoch"
            yield Mistake(
                "/batch_size",
                "single_value_batch_norm",
                f"{which} holds one image, and batch norm in layer {row.index} ({row.name}) needs at least two "
                "values a channel; use another batch_size" + ("." if last != 1 else " or last_batch: drop."),
            )
            return


def _nearest(name: str, known: Sequence[str]) -> str:
    match difflib.get_close_matches(name, known, n=1):
        case [nearest]:
            return f"; did you mean {nearest}?"
        case _:
            return f". The layers are {', '.join(known)}."


def _remedy(layer: Layer, mismatch: ShapeMismatch) -> str:
    match layer:
        case Residual():
            return "Let the shortcut be a convolution with the branch's channels and strides."
        case Linear():
            return "Put flatten or global_average_pool before it."
        case _ if len(mismatch.input_shape) == 1:
            return "Put it before what makes an image a list of features."
        case _:
            return "Use a smaller window, more padding, or smaller strides before it."


def _order_warnings(network: Network, rows: Sequence[LayerRow]) -> Iterator[SpecWarning]:
    """Of what stands before what."""
    norms = [row.index for row in rows if row.kind == BatchNormalization.__name__]
    drops = [row.index for row in rows if row.kind == Drop.__name__]
    if norms and drops and drops[0] < norms[-1]:
        first = rows[drops[0]]
        norm = next(rows[index] for index in norms if index > first.index)
        yield SpecWarning(
            at(network, first, "dropout"),
            "dropout_before_batch_norm",
            f"Batch norm in layer {norm.index} ({norm.name}) stands behind dropout in layer {first.index} "
            f"({first.name}): units vary more in training than at test, and its running averages are off (Li 2018); "
            "drop units behind the last batch norm.",
        )
    if drops and drops[-1] == len(rows) - 1:
        detail = "Dropout of the output sets logits to zero, and with them what is predicted; put it further up."
        yield SpecWarning(at(network, rows[-1], "dropout"), "dropped_logits", detail)
    before_output = [row for row in rows[:-1] if row.kind not in (Flatten.__name__, Drop.__name__)][-1:]
    near_output = [*before_output, rows[-1]]
    for row in near_output:
        if row.kind == BatchNormalization.__name__:
            detail = (
                f"Batch norm in layer {row.index} ({row.name}) is next to the output layer, whose own weights do all "
                "that its scale does."
            )
            yield SpecWarning(at(network, row, "batch_norm"), "batch_norm_at_output", detail)


def _collapsing(layers: Sequence[Layer], prefix: str) -> Iterator[tuple[str, str]]:
    """Pairs of weighted layers with nothing nonlinear between them."""
    before: str | None = None
    for layer in layers:
        name = prefix + layer.name
        match layer:
            case Convolution() | Linear():
                if before:
                    yield before, name
                before = name
            case Residual():
                yield from _collapsing((*layer.branch, *layer.after), f"{name}.")
                yield from _collapsing(layer.shortcut, f"{name}.shortcut.")
                before = None
            case Activation() | LocalResponseNormalization() | Composite() | Pool(reduce="max"):
                before = None
            case _:
                pass
