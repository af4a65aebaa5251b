"""One way to any data set: a name, a folder of images, an `.npz` file, or `package.module:factory`.

A known name wins over a folder of that name in the working folder; `./mnist` means the folder.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...runtime.errors import DataError
from .class_order import CLASS_ORDERS
from .dataset import Dataset, Splits, divide
from .factory import as_reference, is_reference, load_factory
from .folder import load_folder
from .named import NAMES, load_named
from .npz_file import load_npz
from .overlap import count_overlap
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
    class_order: str | None = None,
    like: Sequence[str] = (),
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
        class_order: which class folder is label 0, 1, ...: "name" (as strings; the same as None), "natural" or a text
            file (`class_order.py`); for a folder only.
        like: the classes of a network. Where a folder's are the same and no `class_order` is given, they get the
            network's order.

    Returns:
        images uint8 [N, C, H, W], C = 1 where the source is gray; labels int64 [N]; and in `notes` what was left out
        or read in another way than plainly.

    Raises:
        DataError: unknown, missing, damaged or inconsistent; says what was expected and how to fix it.
        MissingExtraError: a package is missing that this data set needs.
    """
    splits = _read(
        name_or_path, root=root, image_size=image_size, download=download, class_order=class_order, like=like
    )
    if image_size is not None:
        splits = dataclasses.replace(
            splits,
            train_images=resize_batch(splits.train_images, image_size),
            test_images=resize_batch(splits.test_images, image_size),
        )
    splits = dataclasses.replace(splits, notes=(*splits.notes, *_remarks(splits)))
    return divide(splits, heldout=heldout, calibration=calibration, seed=seed)


def _remarks(splits: Splits) -> list[str]:
    """What a reader of a number must know about the images and labels themselves."""
    remarks = []
    for part, labels in (("training", splits.train_labels), ("test", splits.test_labels)):
        absent = [splits.classes[label] for label in np.setdiff1d(np.arange(len(splits.classes)), labels)]
        if absent:
            shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
            remarks.append(f"{len(absent)} of {len(splits.classes)} classes have no {part} image: {shown}")
    if overlap := count_overlap(splits.train_images, splits.test_images):
        remarks.append(f"{overlap} of {len(splits.test_labels)} test images are training images too, pixel for pixel")
    return remarks


def _read(
    name_or_path: str,
    *,
    root: Path | None,
    image_size: int | None,
    download: bool,
    class_order: str | None,
    like: Sequence[str],
) -> Splits:
    ordered, named = (
        {"--class-order": class_order is not None},
        {"--data-root": root is not None, "--download": download},
    )
    if name_or_path in NAMES:
        _refuse(name_or_path, ordered, "this only with a folder of images")
        return load_named(name_or_path, root=root, download=download)
    path = expand(Path(name_or_path))
    is_folder = os.path.isdir(path)  # noqa: PTH112 - unlike Path.is_dir it says no to a name that no system can hold
    if not (is_folder or path.suffix == ".npz" or is_reference(name_or_path)):
        raise _unknown(name_or_path, path)
    _refuse(name_or_path, named, f"these only with {', '.join(NAMES)}")
    if is_folder:
        order, network = (CLASS_ORDERS[0], like) if class_order is None else (class_order, ())
        return load_folder(path, image_size=image_size, class_order=order, like=network)
    _refuse(name_or_path, ordered, "this only with a folder of images")
    return load_npz(path) if path.suffix == ".npz" else load_factory(name_or_path)


def _refuse(name_or_path: str, options: Mapping[str, bool], expected: str) -> None:
    """A DataError where an option was given that this kind of data set does not have."""
    given = [flag for flag, value in options.items() if value]
    if given:
        raise DataError(
            f"{name_or_path} takes no {' and no '.join(given)}",
            expected=expected,
            fix=f"leave {' and '.join(given)} out",
        )


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
