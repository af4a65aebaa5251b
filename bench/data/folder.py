"""A data set as a folder of images.

    root/train/<class>/**.png      root/test/<class>/**.png      (`val` instead of `test` where there is no `test`)

Classes are the folders of `train`, sorted by name as strings (torchvision's ImageFolder does the same), and test
folders are matched to them by name, so a class without test images shifts nothing. Files that do not end as an image
does, and hidden ones, are not looked at. Mode: gray (L) if every image is gray, RGB otherwise; transparency is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import DataError, MissingExtraError
from .dataset import Images, Labels, Splits
from .resize import check_size, resize

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["load_folder"]

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_GRAY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}


def load_folder(root: Path, *, image_size: int | None = None) -> Splits:
    """Decode every image of the two splits.

    Args:
        root: the folder that holds `train` and `test` (or `val`).
        image_size: side in pixels that images are brought to (shorter side scaled, middle cut out); needed where they
            differ in size.

    Raises:
        DataError: a folder is missing or empty, a test class is unknown, sizes differ, or an image cannot be decoded
            (the file is named).
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
    classes = _class_folders(train)
    unknown = sorted(set(_class_folders(test)) - set(classes))
    if unknown:
        raise DataError(
            f"{test} has classes that {train} lacks",
            expected=f"some of {', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}",
            got=", ".join(unknown[:5]),
        )
    train_files, train_labels = _list(train, classes, need_all=True)
    test_files, test_labels = _list(test, classes, need_all=False)
    mode, size = _mode_and_size([*train_files, *test_files], image_size)
    return Splits(
        name=root.resolve().name,
        classes=tuple(classes),
        train_images=_decode_all(train_files, mode, size, image_size),
        train_labels=train_labels,
        test_images=_decode_all(test_files, mode, size, image_size),
        test_labels=test_labels,
        source=str(root),
    )


def _class_folders(split: Path) -> list[str]:
    return sorted(folder.name for folder in split.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _list(split: Path, classes: Sequence[str], *, need_all: bool) -> tuple[list[Path], Labels]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            path
            for path in (split / name).rglob("*")
            if path.suffix.lower() in _SUFFIXES and path.is_file() and not _hidden(path.relative_to(split))
        )
        if need_all and not found:
            raise _empty(split / name)
        files += found
        labels += [label] * len(found)
    if not files:
        raise _empty(split)
    return files, np.array(labels, np.int64)


def _mode_and_size(files: Sequence[Path], image_size: int | None) -> tuple[str, tuple[int, int]]:
    """The common mode and (width, height); reads headers only."""
    first: tuple[int, int] | None = None
    mode = "L"
    for path in files:
        with _open(path) as image:
            if image.mode in _COLOUR:
                mode = "RGB"
            elif image.mode not in _GRAY:
                raise DataError(
                    f"{path} is not an 8-bit image",
                    expected="8 bits a channel",
                    got=f"mode {image.mode}",
                )
            first = first or image.size
            if image_size is None and image.size != first:
                raise DataError(
                    "the images differ in size",
                    expected=f"{first[0]} x {first[1]} as in {files[0]}",
                    got=f"{image.size[0]} x {image.size[1]} in {path}",
                    fix="give an image size to bring all of them to",
                )
    assert first is not None, "_list gives at least one file"
    return mode, first if image_size is None else (image_size, image_size)


def _decode_all(files: Sequence[Path], mode: str, size: tuple[int, int], image_size: int | None) -> Images:
    width, height = size
    images = np.empty((len(files), 1 if mode == "L" else 3, height, width), np.uint8)
    for index, path in enumerate(files):
        pixels = _decode(path, mode, image_size)
        images[index] = pixels if mode == "L" else pixels.transpose(2, 0, 1)
    return images


def _decode(path: Path, mode: str, image_size: int | None) -> Images:
    with _open(path) as image:
        try:
            # Pillow warns where a palette with transparency does not go to RGB by way of RGBA
            opaque = (image.convert("RGBA") if image.mode in ("P", "PA") else image).convert(mode)
            return np.asarray(opaque if image_size is None else resize(opaque, image_size))
        except Exception as error:  # the decoders raise OSError, ValueError, SyntaxError, zlib.error, struct.error, ...
            raise _corrupt(path, error) from error


def _open(path: Path) -> PIL.Image.Image:
    try:
        import PIL.Image
    except ModuleNotFoundError:
        raise MissingExtraError("pillow", extra="build", feature="reading image folders") from None
    try:
        return PIL.Image.open(path)
    except Exception as error:  # as above, and UnidentifiedImageError
        raise _corrupt(path, error) from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _empty(folder: Path) -> DataError:
    return DataError(f"{folder} holds no image", expected=f"files ending in {', '.join(sorted(_SUFFIXES))}")


def _corrupt(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be decoded",
        expected="a whole image file",
        got=f"{type(error).__name__}: {error}",
        fix="replace the file or remove it from the data set",
    )
