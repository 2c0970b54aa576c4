"""Preprocessing and augmentation: that images are large, coloured and many enough for what is done to them."""

from collections.abc import Iterator
from math import prod

from trainer.data import DataFacts
from trainer.errors import Mistake, SpecWarning
from trainer.layers import Convolution, LayerRow, show
from trainer.parsing import pointer
from trainer.spec import (
    ColorJitter,
    Cutout,
    HorizontalFlip,
    Mixup,
    PcaLighting,
    PcaWhitening,
    RandomCrop,
    TrainingSpec,
)

LARGEST_WHITENED = 4_096
"""Values of an image that is whitened. The matrix, stored with every snapshot, then has 64 MiB, and its
decomposition takes a minute or two; both grow fast from there."""
CAREFUL_EPSILON = 0.01
HANDED_DATASETS = {"mnist5k"}
"""Data sets whose images mean something else when mirrored."""


def mistakes(spec: TrainingSpec, facts: DataFacts) -> Iterator[Mistake]:
    """Of whitening and changes that the images cannot take, and of mixup where it cannot stand."""
    yield from _whitening_mistakes(spec, facts)
    yield from _mixup_mistakes(spec)
    yield from _change_mistakes(spec, facts)


def warnings(spec: TrainingSpec, facts: DataFacts, rows: tuple[LayerRow, ...]) -> Iterator[SpecWarning]:
    """Of whitening that helps little, and of changes that leave nothing as it was, or everything."""
    yield from _whitening_warnings(spec, facts, rows)
    yield from _change_warnings(spec, facts)


def _whitening_mistakes(spec: TrainingSpec, facts: DataFacts) -> Iterator[Mistake]:
    if spec.preprocessing.whitening is None:
        return
    if spec.preprocessing.centre != "per_pixel":
        yield Mistake(
            "/preprocessing/centre",
            "not_centred",
            f"Whitening needs every pixel to have mean 0, which centre: {spec.preprocessing.centre} does not give; "
            "use centre: per_pixel.",
        )
    if prod(facts.shape) > LARGEST_WHITENED:
        yield Mistake(
            "/preprocessing/whitening",
            "larger_than_whitened",
            f"Images of {facts.name} have {show(facts.shape)} = {prod(facts.shape):,} values, and whitening is for "
            f"at most {LARGEST_WHITENED:,}; leave it out or use smaller images.",
        )


def _mixup_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    match [index for index, step in enumerate(spec.augmentation) if isinstance(step, Mixup)]:
        case [_, second, *_]:
            yield Mistake(pointer("augmentation", second), "repeated", "Mixup stands here twice; keep one of them.")
        case [index] if index < len(spec.augmentation) - 1:
            yield Mistake(
                pointer("augmentation", index),
                "not_last",
                "Mixup must come last, so that each of two mixed images has been changed on its own; move it to the "
                "end.",
            )


def _change_mistakes(spec: TrainingSpec, facts: DataFacts) -> Iterator[Mistake]:
    size, smallest = f"{facts.height}×{facts.width}", min(facts.height, facts.width)
    for index, step in enumerate(spec.augmentation):
        match step:
            case RandomCrop(padding=padding) if padding >= smallest:
                yield Mistake(
                    pointer("augmentation", index, "padding"),
                    "larger_than_image",
                    f"With {padding} pixels of padding a crop of a {size} image could hold nothing of it; use less "
                    f"than {smallest}.",
                )
            case Cutout(size=side) if side > smallest:
                yield Mistake(
                    pointer("augmentation", index, "size"),
                    "larger_than_image",
                    f"A square of {side}×{side} pixels is larger than a {size} image; use at most {smallest}.",
                )
            case ColorJitter():
                for name in ("saturation", "hue"):
                    if getattr(step, name) and facts.channels != 3:
                        yield _colourless(facts, "Colour jitter's " + name, "augmentation", index, name)
            case PcaLighting() if facts.channels != 3:
                yield _colourless(facts, "PCA lighting", "augmentation", index, "kind")


def _colourless(facts: DataFacts, what: str, *at: int | str) -> Mistake:
    channels = f"{facts.channels} channel" + ("s" if facts.channels > 1 else "")
    return Mistake(
        pointer(*at),
        "needs_colour",
        f"{what} is for RGB images, and those of {facts.name} have {channels}; leave it out.",
    )


def _whitening_warnings(spec: TrainingSpec, facts: DataFacts, rows: tuple[LayerRow, ...]) -> Iterator[SpecWarning]:
    whitening = spec.preprocessing.whitening
    if whitening is None:
        return
    if isinstance(whitening, PcaWhitening) and any(row.kind == Convolution.__name__ for row in rows):
        yield SpecWarning(
            "/preprocessing/whitening/kind",
            "no_neighbourhood",
            "Convolutions look for patterns among neighbours, and principal components have none; use zca.",
        )
    dimensions = prod(facts.shape)
    if whitening.epsilon < CAREFUL_EPSILON and facts.train_count < 10 * dimensions:
        yield SpecWarning(
            "/preprocessing/whitening/epsilon",
            "noise_amplified",
            f"{facts.train_count:,} images tell little of the smallest of {dimensions:,} variances, and with epsilon "
            f"{whitening.epsilon:g} what is noise there is amplified; 0.1 is usual for so few.",
        )


def _change_warnings(spec: TrainingSpec, facts: DataFacts) -> Iterator[SpecWarning]:
    for index, step in enumerate(spec.augmentation):
        match step:
            case HorizontalFlip() if spec.dataset in HANDED_DATASETS:
                detail = f"Mirrored images of {spec.dataset} are no longer what their labels say."
                yield SpecWarning(pointer("augmentation", index), "changes_meaning", detail)
            case ColorJitter(brightness=0, contrast=0, saturation=0, hue=0):
                detail = "All strengths are 0, and nothing is changed; give one of them."
                yield SpecWarning(pointer("augmentation", index), "changes_nothing", detail)
            case Cutout(size=side) if 2 * side**2 > facts.height * facts.width:
                detail = f"A square of {side}×{side} pixels hides most of a {facts.height}×{facts.width} image."
                yield SpecWarning(pointer("augmentation", index, "size"), "hides_most", detail)
            case Mixup() if spec.batch_size == 1:
                detail = "In a batch of one image mixup finds no partner and changes nothing."
                yield SpecWarning("/batch_size", "no_partner", detail)
