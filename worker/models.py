"""Networks in memory, ready to predict: those that were asked for last, up to so many bytes."""

from collections import OrderedDict
from pathlib import Path

import structlog
import torch
from sqlalchemy import Engine
from torch import nn

from app.store import blobs
from app.store.errors import BlobDamaged
from trainer import snapshot

log = structlog.get_logger()


class Models:
    """Loads snapshots from the database; the least recently used goes where memory would not suffice."""

    def __init__(self, engine: Engine, folder: Path, device: torch.device, most_bytes: int) -> None:
        self._engine = engine
        self._folder = folder
        self._device = device
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, tuple[nn.Module, int]] = OrderedDict()

    @property
    def kept_bytes(self) -> int:
        """Weights and statistics of all that is kept."""
        return sum(size for _, size in self._kept.values())

    def get(self, sha256: str) -> nn.Module:
        """The network of a snapshot's file. Raises `BlobDamaged`.

        One that is larger than all that may be kept is loaded each time.
        """
        if sha256 in self._kept:
            self._kept.move_to_end(sha256)
            return self._kept[sha256][0]
        model = self._load(sha256).to(self._device)
        size = sum(tensor.nbytes for tensor in model.state_dict().values())
        if size > self._most_bytes:
            log.warning("a network is larger than all that may be kept", sha256=sha256, bytes=size)
            return model
        while self._kept and self.kept_bytes + size > self._most_bytes:
            self._kept.popitem(last=False)
        self._kept[sha256] = (model, size)
        return model

    def _load(self, sha256: str) -> nn.Module:
        path = self._folder / f"{sha256}.safetensors"
        try:
            blobs.fetch(self._engine, sha256, path)
            model, _ = snapshot.load(path)
        except (ValueError, KeyError, RuntimeError) as error:
            raise BlobDamaged(f"The blob {sha256} is no snapshot of this version: {error}") from error
        finally:
            path.unlink(missing_ok=True)
        return model
