"""One way to any data set: a name, a folder of images, an `.npz` file, or `package.module:factory`.

A known name wins over a folder of that name in the working folder; `./mnist` means the folder.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path

from ...runtime.errors import DataError
from .dataset import Dataset, Splits, divide
from .factory import as_reference, is_reference, load_factory
from .folder import load_folder
from .named import NAMES, load_named
from .npz_file import load_npz
from .paths import expand
from .resize import resize_batch

__all__ = ["load_dataset"]


def load_dataset(
    name_or_path: str,
    *,
    root: Path | None = None,
    heldout: int = 1000,
    calibration: int = 512,
    seed: int = 0,
    image_size: int | None = None,
    download: bool = False,
) -> Dataset:
    """Load a data set and divide its training split.

    Args:
        name_or_path: "fashion-mnist", "mnist", "cifar10", "cifar100" or "svhn", a folder (`folder.py`), an `.npz` file
            (`npz.py`) or `package.module:factory` (`factory.py`).
        root: the folder to look in first; for a data set given by name only.
        heldout: images of the training split to hold out, 0 or more.
        calibration: images of the training split for calibration, 0 or more.
        seed: 0 or more; decides which image falls into which part.
        image_size: side in pixels that every image is brought to; None leaves the size as it is.
        download: download a data set where no folder holds it; for one given by name only.

    Returns:
        images uint8 [N, C, H, W], C = 1 where the source is gray; labels int64 [N].

    Raises:
        DataError: unknown, missing, damaged or inconsistent; says what was expected and how to fix it.
        MissingExtraError: a package is missing that this data set needs.
    """
    splits = _read(name_or_path, root=root, image_size=image_size, download=download)
    if image_size is not None:
        splits = dataclasses.replace(
            splits,
            train_images=resize_batch(splits.train_images, image_size),
            test_images=resize_batch(splits.test_images, image_size),
        )
    return divide(splits, heldout=heldout, calibration=calibration, seed=seed)


def _read(name_or_path: str, *, root: Path | None, image_size: int | None, download: bool) -> Splits:
    if name_or_path in NAMES:
        return load_named(name_or_path, root=root, download=download)
    path = expand(Path(name_or_path))
    is_folder = os.path.isdir(path)  # noqa: PTH112 - unlike Path.is_dir it says no to a name that no system can hold
    if not (is_folder or path.suffix == ".npz" or is_reference(name_or_path)):
        raise _unknown(name_or_path, path)
    given = [flag for flag, value in (("--data-root", root is not None), ("--download", download)) if value]
    if given:
        raise DataError(
            f"{name_or_path} takes no {' and no '.join(given)}",
            expected=f"these only with {', '.join(NAMES)}",
            fix=f"leave {' and '.join(given)} out",
        )
    if is_folder:
        return load_folder(path, image_size=image_size)
    return load_npz(path) if path.suffix == ".npz" else load_factory(name_or_path)


def _unknown(name_or_path: str, path: Path) -> DataError:
    expected = f"{', '.join(NAMES)}, a folder of images, an .npz file, or package.module:factory"
    fix = as_reference(name_or_path)
    exists = os.path.exists(path)  # noqa: PTH110 - as above
    if exists or len(path.parts) > 1:
        got = "a file of another kind" if exists else "no such file or folder"
        return DataError(f"{name_or_path} is not a data set", expected=expected, got=got, fix=fix)
    near = difflib.get_close_matches(name_or_path.lower().replace("_", "-"), NAMES, n=1, cutoff=0.4)
    fix = fix or (f"did you mean {near[0]!r}?" if near else "")
    return DataError(f"unknown data set {name_or_path!r}", expected=expected, fix=fix)
