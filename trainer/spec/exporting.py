"""What file to make of a model for other programs."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from trainer.spec.model import Model
from trainer.spec.queued import Queued, sha256_of

Format = Literal["safetensors", "onnx", "torch-export"]
SUFFIXES: Mapping[Format, str] = {"safetensors": "safetensors", "onnx": "onnx", "torch-export": "pt2"}


class ExportSpec(Queued):
    """One network in one file: uint8 images in, probabilities out."""

    name: str = Field(default="export", min_length=1, max_length=200, description="Shown in lists.")
    format: Format = Field(default="onnx", description="What kind of file.")
    device: Literal["cpu"] = Field(default="cpu", description="Exports need no GPU.")


class ResolvedExport(ExportSpec):
    """The same with the networks that it is made of, as they were when it was asked for."""

    model: Model

    @property
    def sha256(self) -> str:
        """Hash of all that determines the file."""
        return sha256_of(self)

    @property
    def file(self) -> str:
        """The name of the file that is asked for."""
        return f"model.{SUFFIXES[self.format]}"
