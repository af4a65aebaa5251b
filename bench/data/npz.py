"""A data set in one `.npz` file: the four arrays of `arrays.py`, other keys ignored. Nothing in the file is unpickled.

MedMNIST's files follow the same keys and load as they are.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ...runtime.errors import DataError
from .arrays import KEYS, splits_from_arrays
from .dataset import Splits

__all__ = ["load_npz"]


def load_npz(path: Path) -> Splits:
    """Read train_images, train_labels, test_images, test_labels and, where it is there, classes.

    Raises:
        DataError: the file is missing, damaged or no `.npz`, holds Python objects, or breaks the rules of `arrays.py`.
    """
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path} is not an .npz file", expected="a zip of arrays: numpy.savez(...)", got="a single array"
                )
            arrays = {key: content[key] for key in (*KEYS, "classes") if key in content.files}
            others = [key for key in content.files if key not in arrays]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", expected="an .npz file") from None
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read",
            expected="an .npz file of plain arrays, no Python objects",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix="write it again: numpy.savez_compressed(path, train_images=..., train_labels=..., test_images=..., "
            "test_labels=...)",
        ) from error
    if not arrays:
        raise DataError(f"{path} holds no data set", expected=", ".join(KEYS), got=", ".join(others) or "no array")
    return splits_from_arrays(arrays, name=path.stem, source=str(path))
