"""Training steps with nothing around them, and the usual loop: what the trainer's own steps are measured by."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from trainer import build, dropout, initialize, networks, preprocess
from trainer.data import DataSet, Split
from trainer.optimizer import Updates
from trainer.spec import TrainingSpec

WARM_UP = 10
CPU = torch.device("cpu")
LAYOUTS = (torch.channels_last, torch.contiguous_format)


def bare(spec: TrainingSpec, dataset: DataSet) -> Callable[[int], float]:
    """Takes so many steps in either layout and tells images a second of the quicker.

    What nothing can beat: one batch that is on the device already, normalised, not augmented; forward, backward,
    update, again and again.
    """
    layouts = [_laid_out(spec, dataset, memory_format) for memory_format in LAYOUTS]
    return lambda count: max(steps(count) for steps in layouts)


def _laid_out(spec: TrainingSpec, dataset: DataSet, memory_format: torch.memory_format) -> Callable[[int], float]:
    fitted, body = _network(spec, dataset)
    body.to(memory_format=memory_format)  # type: ignore[call-overload]
    images = fitted(torch.tensor(dataset.train.images[: spec.batch_size])).contiguous(memory_format=memory_format)
    labels = torch.tensor(dataset.train.labels[: spec.batch_size])
    dropout.reseed(body, CPU, 0, 0)
    updates = Updates(body, spec.optimizer, spec.regularization)

    def steps(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            loss = functional.cross_entropy(body(images), labels)
            updates.zero_grad()
            loss.backward()
            updates.step(0.001)
        return count * spec.batch_size / (time.perf_counter() - began)

    steps(WARM_UP)
    return steps


def update(spec: TrainingSpec, dataset: DataSet, changes: Mapping[str, bool]) -> Callable[[int], float]:
    """Takes so many updates by one gradient and tells the seconds of one; `changes` are of torch's settings."""
    _, body = _network(spec, dataset)
    for parameter in body.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    updates = Updates(body, spec.optimizer, spec.regularization)
    for group in updates.param_groups:
        group.update(changes)

    def steps(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            updates.step(0.001)
        return (time.perf_counter() - began) / count

    steps(WARM_UP)
    return steps


def usual(spec: TrainingSpec, dataset: DataSet, padding: int, workers: int) -> Callable[[], float]:
    """Takes an epoch and tells images a second.

    As tutorials have it: a `DataLoader` with `workers` processes (none for 0) crops, flips and normalises each image
    with PIL; every loss is read.
    """
    fitted, body = _network(spec, dataset)
    dropout.reseed(body, CPU, 0, 0)
    optimizer = torch.optim.SGD(body.parameters(), lr=0.001, momentum=0.9)
    images = PilImages(dataset.train, padding, fitted)
    loader = DataLoader(
        images, spec.batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> float:
        count = 0
        batches: Iterator[tuple[Tensor, Tensor]] = iter(loader)
        next(batches)  # Workers start here.
        began = time.perf_counter()
        for inputs, labels in batches:
            optimizer.zero_grad()
            loss = functional.cross_entropy(body(inputs), labels)
            loss.backward()
            optimizer.step()
            assert loss.item() >= 0
            count += len(labels)
        return count / (time.perf_counter() - began)

    epoch()
    return epoch


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images one by one, through PIL: cut out at random after padding, flipped by chance, and normalised.

    Call for call what torchvision's MNIST and CIFAR10 do with RandomCrop, RandomHorizontalFlip, ToTensor and Normalize
    (0.28, `transforms/functional.py`), without their checks of arguments: torchvision itself needs another build of
    torch than the one for CPUs only.
    """

    def __init__(self, split: Split, padding: int, fitted: preprocess.Standardize) -> None:
        self._images = split.images.transpose(0, 2, 3, 1).squeeze()
        self._labels = split.labels.tolist()
        self._padding = padding
        self._mean, self._std = ((figure / 255).flatten().tolist() for figure in (fitted.mean, fitted.std))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._crop(Image.fromarray(self._images[index]))
        if torch.rand(1) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return self._normalize(_to_tensor(image)), self._labels[index]

    def _crop(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        padded = ImageOps.expand(image, self._padding, fill=0)
        top = int(torch.randint(0, padded.height - height + 1, size=(1,)).item())
        left = int(torch.randint(0, padded.width - width + 1, size=(1,)).item())
        return padded.crop((left, top, left + width, top + height))

    def _normalize(self, image: Tensor) -> Tensor:
        image = image.clone()
        mean = torch.as_tensor(self._mean, dtype=image.dtype, device=image.device)
        std = torch.as_tensor(self._std, dtype=image.dtype, device=image.device)
        if (std == 0).any():
            raise ValueError("a channel does not vary")
        return image.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


def _to_tensor(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
    pixels = pixels.view(image.height, image.width, len(image.getbands())).permute((2, 0, 1)).contiguous()
    return pixels.to(dtype=torch.get_default_dtype()).div(255)


def _network(spec: TrainingSpec, dataset: DataSet) -> tuple[preprocess.Standardize, nn.Sequential]:
    """What comes before the first layer, and the layers."""
    fitted = preprocess.fitted(spec.preprocessing, dataset.train.images)
    layers = networks.describe(spec.network, dataset.facts.shape, len(dataset.classes))
    model = build.build(layers, dataset.facts.shape, fitted)
    initialize.initialize(model, spec.network.initialization, spec.seed)
    body: Any = model[1:]
    return fitted, body.train()
