"""A data set in one `.npz` file: the four arrays of `arrays.py`; other keys are left out, and counted.

Nothing in the file is unpickled.

MedMNIST's files follow the same keys and load as they are.
"""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import DataError
from ...runtime.files.npz import read_arrays
from .arrays import KEYS, splits_from_arrays
from .dataset import Splits

__all__ = ["MOST_BYTES", "load_npz"]

MOST_BYTES = 2**36
"""Bytes of a data set, unpacked: four times ImageNet at 64 x 64. It is held in memory whole."""


def load_npz(path: Path) -> Splits:
    """Read train_images, train_labels, test_images, test_labels and, where it is there, classes.

    Raises:
        DataError: the file is missing, damaged or no `.npz`, holds Python objects, or breaks the rules of `arrays.py`.
    """
    try:
        with path.open("rb") as file:
            alone = file.read(6) == b"\x93NUMPY"
        if alone:
            raise DataError(
                f"{path} is not an .npz file", expected="a zip of arrays: numpy.savez(...)", got="a single array"
            )
        arrays, names = read_arrays(path, (*KEYS, "classes"), most=MOST_BYTES)
    except ValueError as error:  # a null byte in the name
        raise DataError(f"{path} is no file's name", got=str(error)) from error
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", expected="an .npz file") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read", expected="an .npz file", got=error.strerror or str(error)) from error
    if not arrays:
        raise DataError(f"{path} holds no data set", expected=", ".join(KEYS), got=", ".join(names) or "no array")
    return splits_from_arrays(
        arrays, name=path.stem, source=str(path), beside=[name for name in names if name not in arrays]
    )
