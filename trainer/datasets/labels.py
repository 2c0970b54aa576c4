"""Labels as arrays, and the class names that they come to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.datasets.findings import refused
from trainer.datasets.limits import Limits


def numbered(
    arrays: Mapping[str, NDArray[Any]], names: Sequence[str] | None, limits: Limits
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Class names, and labels `(N,)` of each file as their numbers.

    Integers count from 0 and have the given names, else their own numbers; words are named by themselves, in the order
    of code points. Raises `DataRefused`.
    """
    flat = {name: _flat(name, array) for name, array in arrays.items()}
    if all(array.dtype.kind == "U" for array in flat.values()):
        found, numbers = np.unique(np.concatenate(list(flat.values())), return_inverse=True)
        ends = np.cumsum([len(array) for array in flat.values()])[:-1]
        return tuple(found.tolist()), dict(zip(flat, np.split(numbers.astype(np.int64), ends), strict=True))
    highest = 0
    for name, array in flat.items():
        _check(name, array, limits)
        highest = max(highest, int(array.max()))
    if names is not None and highest >= len(names):
        which = next(name for name, array in flat.items() if array.max() == highest)
        detail = f"A label in it is {highest}, and there are names for {len(names)} classes, counted from 0."
        raise refused(which, "label_out_of_range", detail)
    classes = tuple(names) if names is not None else tuple(str(number) for number in range(highest + 1))
    return classes, {name: array.astype(np.int64) for name, array in flat.items()}


def _flat(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        shape = "×".join(map(str, array.shape))
        detail = f"Labels are one number an image, and it is {shape}; give the class's number (argmax) of each."
        raise refused(name, "labels_shape", detail)
    if not len(array):
        raise refused(name, "no_images", "It holds no labels.")
    return array


def _check(name: str, array: NDArray[Any], limits: Limits) -> None:
    if array.dtype.kind not in "iu":
        detail = f"Labels are integers, or words in every file, and it holds {array.dtype}; convert them."
        raise refused(name, "labels_type", detail)
    if array.min() < 0:
        raise refused(name, "label_out_of_range", f"A label in it is {array.min()}; labels count from 0.")
    if int(array.max()) >= limits.classes:
        detail = f"A label in it is {array.max()}; at most {limits.classes} classes are taken, counted from 0."
        raise refused(name, "too_many_classes", detail)
