"""Precision, layout and compiling."""

from tests.trainer.validation.plans import codes


def test_what_execution_hardly_does_is_warned_of() -> None:
    assert codes(device="cpu", execution={"precision": "float16"}) == [("/execution/precision", "rarely_supported")]
    assert codes(execution={"memory_format": "channels_last"}) == [("/execution/memory_format", "no_convolutions")]
    assert codes(execution={"compile": True}) == [("/execution/compile", "short_training")]
    assert codes(epochs=80, execution={"compile": True, "precision": "bfloat16"}) == []
