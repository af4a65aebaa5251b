"""What must hold of every data set, whatever it was read from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...runtime.errors import DataError

__all__ = ["check_classes", "check_part", "shape_of"]


def check_classes(what: str, classes: tuple[str, ...]) -> None:
    """A DataError unless there are two or more names, printable and all different."""
    if len(classes) < 2:
        raise DataError(f"{what}: too few classes", expected="2 or more", got=str(len(classes)))
    first: dict[str, int] = {}
    for index, name in enumerate(classes):
        if not name or not name.isprintable():  # nor are the surrogates of a file name that is no UTF-8
            raise DataError(
                f"{what}: class {index} has no name that can be written",
                expected="printable text in UTF-8, not empty",
                got=repr(name),
                fix="rename the class (its folder, where classes are folders)",
            )
        if first.setdefault(name, index) != index:
            raise DataError(
                f"{what}: two classes have one name",
                expected="a name of its own for each class",
                got=f"{name!r} for classes {first[name]} and {index}",
                fix="rename one of them",
            )


def check_part(what: str, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: int) -> None:
    """A DataError unless images are uint8 [N, C, H, W], C = 1 or 3, and labels int64 [N], each 0 <= label < classes."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise DataError(
            f"{what} images are not pixels", expected="uint8 [N, C, H, W], C = 1 or 3, none empty", got=shape_of(images)
        )
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise DataError(f"{what} labels are not class numbers", expected="int64 [N]", got=shape_of(labels))
    if len(labels) != len(images):
        raise DataError(
            f"{what} labels do not match the images", expected=f"{len(images)} labels", got=str(len(labels))
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{what} labels are out of range",
            expected=f"0 to {classes - 1} ({classes} classes)",
            got=f"{low} to {high}",
        )


def shape_of(array: npt.NDArray[np.generic]) -> str:
    """Type and shape in words."""
    return f"{array.dtype} {list(array.shape)}"
