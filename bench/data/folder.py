"""A data set as a folder of images.

    root/train/<class>/**.png      root/test/<class>/**.png      (`val` instead of `test` where there is no `test`)

Classes are the folders of `train`, in the order of `class_order.py`: as strings by default (torchvision's ImageFolder
does the same). Test folders are matched to them by name, so a class without test images shifts nothing. Which files are
images, `class_folders.py` says, and how one is read, `picture.py`; what is left out or not read plainly is counted.
Mode: gray (L) if every image is gray, RGB otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...runtime.errors import DataError
from ...runtime.printable import printable
from .class_folders import class_names, image_files, other_folders
from .class_order import order_classes
from .dataset import Images, Labels, Splits
from .physical_memory import check_memory
from .picture import SUFFIXES, read_header, read_pixels
from .resize import check_size
from .tally import Tally

__all__ = ["load_folder"]


def load_folder(
    root: Path, *, image_size: int | None = None, class_order: str = "name", like: Sequence[str] = ()
) -> Splits:
    """Decode every image of the two splits.

    Args:
        root: the folder that holds `train` and `test` (or `val`).
        image_size: side in pixels that images are brought to (shorter side scaled, middle cut out); needed where they
            differ in size.
        class_order: "name", "natural" or a text file (`class_order.py`).
        like: the classes of a network; where the folders have just these names, its order counts.

    Raises:
        DataError: a folder is missing, empty or cannot be read, a test class is unknown, sizes differ, the order does
            not fit, or an image cannot be decoded (the file is named).
        MissingExtraError: Pillow is not installed.
    """
    if image_size is not None:
        check_size(image_size)
    train = root / "train"
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), root / "test")
    for split in (train, test):
        if not split.is_dir():
            raise DataError(
                f"{root} is not an image data set",
                expected="train/<class>/*.png and test/<class>/*.png (or val/)",
                got=f"no folder {split.name!r}",
            )
    left_out = Tally()
    names = class_names(train, left_out)
    unknown = sorted(set(class_names(test, left_out)) - set(names))
    if unknown:
        raise DataError(
            f"{test} has classes that {train} lacks",
            expected=f"some of {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}",
            got=", ".join(unknown[:5]),
        )
    classes, order = order_classes(names, class_order, like=like)
    train_files, train_labels = _list(train, classes, left_out, need_all=True)
    test_files, test_labels = _list(test, classes, left_out, need_all=False)
    gray, size = _gray_and_size([*train_files, *test_files], image_size)
    count = len(train_files) + len(test_files)
    check_memory(
        f"the {count:,} images of {root}, {size[0]} x {size[1]}, take",
        count * size[0] * size[1] * (1 if gray else 3),
        error=DataError,
        fix="give a smaller image size",
    )
    ways = Tally()
    train_images, test_images = (
        _decode_all(files, gray, size, image_size, ways) for files in (train_files, test_files)
    )
    return Splits(
        name=root.resolve().name,
        classes=classes,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        source=str(root),
        notes=tuple(filter(None, (order, _of_files(left_out), _of_folders(root, (train, test)), _of_ways(ways)))),
    )


def _list(split: Path, classes: Sequence[str], left_out: Tally, *, need_all: bool) -> tuple[list[Path], Labels]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        # a class may have no folder in the test split
        found = image_files(split / name, SUFFIXES, left_out) if os.path.isdir(split / name) else []  # noqa: PTH112
        if need_all and not found:
            raise _empty(split / name, left_out)
        files += found
        labels += [label] * len(found)
    if not files:
        raise _empty(split, left_out)
    return files, np.array(labels, np.int64)


def _gray_and_size(files: Sequence[Path], image_size: int | None) -> tuple[bool, tuple[int, int]]:
    """Whether all are gray, and the common (width, height); reads headers only."""
    first: tuple[int, int] | None = None
    gray = True
    for path in files:
        header = read_header(path)
        gray = gray and header.gray
        first = first or header.size
        if image_size is None and header.size != first:
            raise DataError(
                "the images differ in size",
                expected=f"{first[0]} x {first[1]} as in {files[0]}",
                got=f"{header.size[0]} x {header.size[1]} in {path}",
                fix="give an image size to bring all of them to",
            )
    assert first is not None, "_list gives at least one file"
    return gray, first if image_size is None else (image_size, image_size)


def _decode_all(
    files: Sequence[Path], gray: bool, size: tuple[int, int], image_size: int | None, ways: Tally
) -> Images:
    width, height = size
    images = np.empty((len(files), 1 if gray else 3, height, width), np.uint8)
    for index, path in enumerate(files):
        pixels = read_pixels(path, gray=gray, image_size=image_size, ways=ways)
        images[index] = pixels if gray else pixels.transpose(2, 0, 1)
    return images


def _of_files(left_out: Tally) -> str:
    return f"files left out: {left_out}" if left_out.total else ""


def _of_folders(root: Path, read: tuple[Path, Path]) -> str:
    others = [printable(name) for name in other_folders(root, read)]
    shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
    return f"folders left out: {len(others)} beside {read[0].name} and {read[1].name} ({shown})" if others else ""


def _of_ways(ways: Tally) -> str:
    return f"images not read plainly: {ways}" if ways.total else ""


def _empty(folder: Path, left_out: Tally) -> DataError:
    return DataError(
        f"{folder} holds no image",
        expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
        got=f"files that are left out: {left_out}" if left_out.total else "",
    )
