"""Precision, layout and compiling, as far as the spec tells; what a device cannot do shows when training starts."""

from collections.abc import Iterator

from trainer.errors import SpecWarning
from trainer.layers import Convolution, LayerRow
from trainer.spec import TrainingSpec

FEWEST_COMPILED_STEPS = 2_500


def warnings(spec: TrainingSpec, rows: tuple[LayerRow, ...], steps: int) -> Iterator[SpecWarning]:
    """Of what is rarely there, does nothing, or does not pay in so many steps of one member."""
    execution = spec.execution
    if execution.precision == "float16" and spec.device == "cpu":
        detail = (
            "Few CPUs have arithmetic in float16, and others refuse it; bfloat16 is more common, float32 runs on all."
        )
        yield SpecWarning("/execution/precision", "rarely_supported", detail)
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
