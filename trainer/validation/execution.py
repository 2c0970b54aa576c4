"""Precision, layout and compiling, as far as the spec and what is known of the devices tell."""

from collections.abc import Iterator

from trainer.errors import Mistake, SpecWarning
from trainer.layers import Convolution, LayerRow
from trainer.offer import Offer
from trainer.spec import TrainingSpec

FEWEST_COMPILED_STEPS = 2_500
DEVICES = {"auto": "device", "cpu": "CPU", "cuda": "GPU"}


def mistakes(spec: TrainingSpec, offer: Offer | None) -> Iterator[Mistake]:
    """Of a precision that none of the devices has."""
    precision = spec.execution.precision
    if precision == "float32" or offer is None or precision in offer.precisions:
        return
    others = " or ".join(sorted({"float32", *offer.precisions}))
    yield Mistake(
        "/execution/precision",
        "precision_unavailable",
        f"No {DEVICES[spec.device]} here has fast arithmetic in {precision}, and without it steps would be slower; use "
        f"{others}, or train on a device that has {precision}.",
    )


def warnings(spec: TrainingSpec, rows: tuple[LayerRow, ...], steps: int, offer: Offer | None) -> Iterator[SpecWarning]:
    """Of what may not be there, does nothing, or does not pay in so many steps of one member."""
    execution = spec.execution
    if execution.precision != "float32" and offer is None:
        detail = (
            f"Whether the device will have arithmetic in {execution.precision} is not known yet; where it has not, the "
            "training is refused at its start. float32 runs everywhere."
        )
        yield SpecWarning("/execution/precision", "unknown_support", detail)
    if execution.memory_format == "channels_last" and all(row.kind != Convolution.__name__ for row in rows):
        detail = "This network has no convolutions, and its layout stays as it is; leave this out."
        yield SpecWarning("/execution/memory_format", "no_convolutions", detail)
    if execution.compile and steps < FEWEST_COMPILED_STEPS:
        yield SpecWarning(
            "/execution/compile",
            "short_training",
            f"{steps:,} steps hardly make up for the time that compiling takes; it pays from some "
            f"{FEWEST_COMPILED_STEPS:,} on, if at all.",
        )
