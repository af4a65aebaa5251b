"""Four arrays as a data set: what an `.npz` file and a factory both give.

    train_images, test_images   uint8, of one of three layouts
    train_labels, test_labels   whole numbers [N] or [N, 1], 0 to K-1
    classes                     optional, K names; else "0", "1", ...

Layout rule: three dimensions are [N, H, W]. Of four, whichever of the second and the last is 1 or 3 is the channels:
[N, C, H, W] or [N, H, W, C]. Where both or neither could be, that is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import DataError
from ...runtime.pixel_hint import uint8_hint
from ...runtime.printable import printable
from .dataset import Images, Labels, Splits

__all__ = ["KEYS", "splits_from_arrays", "to_labels", "to_nchw"]

KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def splits_from_arrays(arrays: Mapping[str, Any], *, name: str, source: str, beside: Collection[str] = ()) -> Splits:
    """Check the arrays and bring them to uint8 [N, C, H, W] and int64 [N].

    Args:
        arrays: the four keys above, and "classes" where known.
        name: the data set's name.
        source: where the arrays came from; errors name it.
        beside: names of what else is there and is left out.

    Raises:
        DataError: a key is missing, or an array's type, shape or values do not follow the rules above.
    """
    missing = [key for key in KEYS if arrays.get(key) is None]
    if missing:
        raise DataError(
            f"{source} lacks {', '.join(missing)}", expected=", ".join(KEYS), got=", ".join(arrays) or "nothing"
        )
    train_labels = to_labels(arrays["train_labels"], f"{source}: train_labels")
    test_labels = to_labels(arrays["test_labels"], f"{source}: test_labels")
    classes = arrays.get("classes")
    return Splits(
        name=name,
        classes=_numbered(train_labels, source) if classes is None else _named(classes, source),
        train_images=to_nchw(arrays["train_images"], f"{source}: train_images"),
        train_labels=train_labels,
        test_images=to_nchw(arrays["test_images"], f"{source}: test_images"),
        test_labels=test_labels,
        source=source,
        notes=_left_out(beside),
    )


def _left_out(names: Collection[str]) -> tuple[str, ...]:
    shown = ", ".join(map(printable, sorted(names)[:5])) + (", ..." if len(names) > 5 else "")
    return (f"arrays left out: {len(names)} ({shown})",) if names else ()


def to_nchw(images: npt.ArrayLike, what: str) -> Images:
    """uint8 [N, H, W], [N, H, W, C] or [N, C, H, W] -> uint8 [N, C, H, W]; a DataError naming `what` otherwise."""
    array = _array(images, what)
    got = f"{array.dtype} {list(array.shape)}"
    if array.dtype != np.uint8:
        raise DataError(
            f"{what} are not 8-bit pixels",
            expected="uint8",
            got=got,
            fix=uint8_hint(array),
        )
    if array.ndim == 3:
        return np.ascontiguousarray(array[:, None])
    first, last = (array.shape[1] in (1, 3), array.shape[3] in (1, 3)) if array.ndim == 4 else (False, False)
    if first == last:
        raise DataError(
            f"{what} have no clear layout",
            expected="[N, H, W], [N, H, W, C] or [N, C, H, W], and just one of the second and last side 1 or 3",
            got=got,
        )
    return np.ascontiguousarray(array if first else array.transpose(0, 3, 1, 2))


def to_labels(labels: npt.ArrayLike, what: str) -> Labels:
    """Whole numbers [N] or [N, 1] -> int64 [N]; a DataError naming `what` otherwise."""
    array = _array(labels, what)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.size == 0:
        raise DataError(
            f"{what} are not class numbers",
            expected="integers of shape [N] or [N, 1], none empty",
            got=f"{array.dtype} {list(array.shape)}",
        )
    return array.astype(np.int64)


def _array(value: object, what: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(value)
    except Exception as error:  # NumPy's own on ragged lists, and whatever `__array__` of a user's object raises
        raise DataError(
            f"{what} are no array",
            expected="an array, or lists of equal lengths",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        ) from error


def _numbered(labels: Labels, source: str) -> tuple[str, ...]:
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(len(present))):
        raise DataError(
            f"{source}: the training labels are not 0, 1, ..., K-1",
            expected=f"every label from 0 to {len(present) - 1}",
            got=", ".join(map(str, present[:5])) + (", ..." if len(present) > 5 else ""),
            fix="renumber the labels, or name all K classes in 'classes'",
        )
    return tuple(map(str, range(len(present))))


def _named(classes: Sequence[str] | npt.NDArray[Any], source: str) -> tuple[str, ...]:
    array = _array(classes, f"{source}: 'classes'")
    if array.ndim != 1 or array.dtype.kind != "U":
        raise DataError(
            f"{source}: 'classes' are not names", expected="strings [K]", got=f"{array.dtype} {list(array.shape)}"
        )
    return tuple(map(str, array))
