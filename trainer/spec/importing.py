"""What data set to make, of what, and how."""

import json
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field

from trainer.datasets.options import ImportOptions
from trainer.spec.part import Part
from trainer.spec.queued import DatasetName, Id, Queued

Known = Literal["mnist", "fashion-mnist", "cifar10", "cifar100"]


class UploadedSource(Part):
    """A file that was uploaded: a zip, tar or npz."""

    kind: Literal["upload"]
    upload: Id = Field(description="Id of the upload, all of whose parts have arrived.")


class NamedSource(Part):
    """What everybody knows, fetched by a worker from where it is published."""

    kind: Literal["named"]
    name: Known


Source = Annotated[UploadedSource | NamedSource, Field(discriminator="kind")]


class ImportSpec(Queued):
    """One data set: what it is made of, and how."""

    name: DatasetName | None = Field(
        default=None,
        description="What specs name it by; names are unique. Left out: that of a named source.",
    )
    source: Source = Field(description="Where the images come from.")
    options: ImportOptions = Field(default=ImportOptions(), description="How they become a data set.")
    keep_upload: bool = Field(
        default=False,
        description="Keep the upload when its content is refused, to try other options on it; it goes with its age.",
    )
    device: Literal["cpu"] = Field(default="cpu", description="Imports need no GPU.")

    @property
    def called(self) -> str | None:
        """The name of the data set; None where none can be told."""
        return self.name or (self.source.name if isinstance(self.source, NamedSource) else None)

    def request_sha256(self, upload_sha256: str | None) -> str:
        """Hash of all that determines the data set: same hash, same data set. The upload counts by its content."""
        source = {"upload": upload_sha256} if upload_sha256 else self.source.model_dump(mode="json")
        document = {"source": source, "options": self.options.model_dump(mode="json", exclude_defaults=True)}
        return sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
