"""CIFAR's python batches, which are pickles, read without doing what a pickle says.

Nothing of a pickle is called: only the words for plain values, lists and dictionaries are taken, and where one asks for
numpy's array it gets a stand-in that holds what it was given.
"""

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS = frozenset(
    re.findall(
        r"\w+",
        """PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 STRING BINSTRING
        SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST
        LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL
        REDUCE BUILD PUT BINPUT LONG_BINPUT MEMOIZE GET
        BINGET LONG_BINGET""",
    )
)


class Refused(ValueError):
    """A pickle that is no batch of CIFAR; the message says why."""


def load(data: bytes) -> Any:
    """What a pickle holds, arrays as `Array`. Raises `Refused`."""
    _check_words(data)
    try:
        return _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Refused:
        raise
    except Exception as error:  # The unpickler meets damage with errors of every kind.
        raise Refused(f"it is damaged ({type(error).__name__})") from None


class DType:
    """Stands in for `numpy.dtype`: only bytes are taken."""

    def __init__(self, kind: Any, *_: Any) -> None:
        if kind not in (b"u1", "u1"):
            raise Refused("it holds an array that is not of unsigned bytes")

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like; bytes have none."""


class Array:
    """Stands in for `numpy.ndarray`: shape and bytes, which `pixels` puts together."""

    def __init__(self, *_: Any) -> None:
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def pixels(self) -> NDArray[np.uint8]:
        """The array. Raises `Refused`."""
        match self._state:
            case (int(), tuple(shape), DType(), False | 0, bytes(data)) if all(type(size) is int for size in shape):
                return np.frombuffer(data, np.uint8).reshape(shape)
        raise Refused("it holds an array in a form that is not read")


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): DType,
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy._core.multiarray", "_reconstruct"): Array,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only the stand-ins. Raises `Refused`."""
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise Refused(f"it asks for {module}.{name}, which is not read") from None


def _check_words(data: bytes) -> None:
    """Refuse words and numbers that a batch does not have, before they take effect."""
    count = 0
    try:
        for word, argument, _ in pickletools.genops(data):
            count += 1
            if word.name not in WORDS:
                raise Refused(f"it has the word {word.name}, which is not read")
            if "PUT" in word.name and not 0 <= int(argument or 0) <= count:
                raise Refused("it numbers what it holds by numbers that are too large")
    except Refused:
        raise
    except Exception as error:  # The same.
        raise Refused(f"it is damaged ({type(error).__name__})") from None
