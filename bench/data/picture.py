"""One image file as pixels.

Rule: Pillow opens the formats that the suffixes below name and no other, whatever a file is called: among the others
are interpreters (EPS starts Ghostscript). A file of more than `LARGEST_PIXELS` is refused before it is decoded. Of a
file Pillow gives its first frame, as it is stored:

* transparency is dropped, and the colours below it count;
* of 16 bits a channel the upper 8 are kept, v >> 8, as libpng and OpenCV do;
* CMYK and YCbCr go to RGB without a colour profile;
* an EXIF orientation is not applied, as in torchvision; a TIFF's is, by Pillow itself, there as here.

Each of these is counted, so that the data set can say so.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import DataError, MissingExtraError
from .dataset import Images
from .resize import resize
from .tally import Tally

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["LARGEST_PIXELS", "SUFFIXES", "Header", "read_header", "read_pixels"]

LARGEST_PIXELS = 2**26
"""Width times height of an image; 8192 x 8192. More is taken for a decompression bomb."""

SUFFIXES = {
    **dict.fromkeys((".jfif", ".jpe", ".jpeg", ".jpg"), "JPEG"),
    **dict.fromkeys((".apng", ".png"), "PNG"),
    **dict.fromkeys((".pbm", ".pgm", ".pnm", ".ppm"), "PPM"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".bmp": "BMP",
    ".dib": "DIB",
    ".gif": "GIF",
    ".webp": "WEBP",
}
"""The format that each suffix names, in Pillow's words."""

_GRAY = {"1", "L", "LA"}
_GRAY_16 = {"I;16", "I;16B", "I;16L", "I;16N"}
_COLOUR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}
_ORIENTATION = 0x0112
"""EXIF 2.32, table 4: 1 is upright."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says before it is decoded: (width, height) in pixels, and whether it is gray."""

    size: tuple[int, int]
    gray: bool


def read_header(path: Path) -> Header:
    """Size and kind of an image file.

    Raises:
        DataError: it cannot be decoded, is too large, or has channels of more than 16 bits or floats.
        MissingExtraError: Pillow is not installed.
    """
    with _open(path) as image:
        deep = _is_deep_gray(image)
        if not (deep or image.mode in _GRAY | _COLOUR):
            raise DataError(
                f"{path} is not an 8-bit image",
                expected="8 or 16 bits a channel, gray or colour",
                got=f"mode {image.mode}",
            )
        return Header(image.size, gray=deep or image.mode in _GRAY)


def read_pixels(path: Path, *, gray: bool, image_size: int | None, ways: Tally) -> Images:
    """Decode an image file.

    Args:
        path: the file; `read_header` took it.
        gray: give [H, W] instead of [H, W, 3].
        image_size: side in pixels that the image is brought to.
        ways: counts how it was read, where that is not plainly.

    Raises:
        DataError: it cannot be decoded.
    """
    with _open(path) as image:
        try:
            deep = _is_deep(image)
            turned = image.format == "TIFF" and _orientation(image) != 1  # forgotten when Pillow has turned it
            with _without_libtiffs_words() if image.format == "TIFF" else nullcontext():
                image.load()
            if _is_deep_gray(image):
                plain = _upper_bits(image)
            else:
                # Pillow warns where a palette with transparency does not go to RGB by way of RGBA
                plain = image.convert("RGBA") if image.mode in ("P", "PA") else image
            pixels = plain.convert("L" if gray else "RGB")
            if image_size is not None:
                pixels = resize(pixels, image_size)
            result: Images = np.asarray(pixels)
        except Exception as error:  # the decoders raise OSError, ValueError, SyntaxError, zlib.error, struct.error, ...
            raise _corrupt(path, error) from error
        _count(path, image, ways, deep=deep, turned=turned, widened=not gray)
    return result


@contextmanager
def _without_libtiffs_words() -> Iterator[None]:
    """libtiff prints what it finds wrong, in a file's own words, past Python to the terminal; the error says enough."""
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _count(path: Path, image: PIL.Image.Image, ways: Tally, *, deep: bool, turned: bool, widened: bool) -> None:
    """Count what was special about an image that was decoded."""
    named, found = SUFFIXES[path.suffix.lower()], image.format
    if found != named and not (found == "MPO" and named == "JPEG"):
        ways.add(f"of another format than the ending says ({found} for {named})")
    if _has_frames(path, image):
        ways.add("of several frames (the first is read)")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        ways.add("with transparency (dropped)")
    if deep:
        ways.add("of 16 bits a channel (read as 8)")
    if image.mode in ("CMYK", "YCbCr"):
        ways.add(f"in {image.mode} (to RGB without a colour profile)")
    if widened and (image.mode in _GRAY or _is_deep_gray(image)):
        ways.add("gray (red, green and blue alike)")
    if turned:
        ways.add("with an orientation of TIFF (applied)")
    elif _orientation(image) != 1:
        ways.add("with an EXIF orientation (not applied, as in torchvision: turn the pixels where that is wrong)")


def _orientation(image: PIL.Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF that cannot be read turns nothing
        return 1


def _is_deep_gray(image: PIL.Image.Image) -> bool:
    # "I" holds 32 bits, but of these two formats never more than 16
    return image.mode in _GRAY_16 or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _upper_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    import PIL.Image

    return PIL.Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))


def _is_deep(image: PIL.Image.Image) -> bool:
    """16 bits a channel. Pillow gives such colours as 8, and says so only in what its decoder is asked for."""
    asked = [
        part for tile in getattr(image, "tile", ()) for part in (tile[3] if isinstance(tile[3], tuple) else tile[3:])
    ]
    texts = any(";16" in part for part in asked if isinstance(part, str))
    largest = image.format == "PPM" and any(part > 255 for part in asked if isinstance(part, int))
    return _is_deep_gray(image) or texts or largest


def _has_frames(path: Path, image: PIL.Image.Image) -> bool:
    if image.format not in ("GIF", "TIFF"):
        return bool(getattr(image, "is_animated", False))
    with _open(path) as another:  # the second frame is sought, for to count a TIFF's frames is to read all of them
        try:
            another.seek(1)
        except EOFError:
            return False
        except Exception:  # a second frame that is damaged is one too; the first is what counts
            return True
    return True


@contextmanager
def _open(path: Path) -> Iterator[PIL.Image.Image]:
    try:
        import PIL.Image
    except ModuleNotFoundError:
        raise MissingExtraError("pillow", extra="build", feature="reading image folders") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's words on metadata, for which nobody asks
        try:
            image = PIL.Image.open(path, formats=_formats())
        except PIL.Image.DecompressionBombError as error:
            raise _too_large(path, "more") from error
        except Exception as error:  # as in `read_pixels`, and UnidentifiedImageError
            raise _corrupt(path, error) from error
        with image:
            width, height = image.size
            if width * height > LARGEST_PIXELS:
                raise _too_large(path, f"{width} x {height}")
            yield image


@cache
def _formats() -> list[str]:
    """Of `SUFFIXES`, what this Pillow was built with."""
    import PIL.Image

    PIL.Image.init()
    return [name for name in dict.fromkeys(SUFFIXES.values()) if name in PIL.Image.OPEN]


def _too_large(path: Path, got: str) -> DataError:
    return DataError(
        f"{path} has too many pixels",
        expected=f"{LARGEST_PIXELS:,} at most",
        got=got,
        fix="scale the image down, or remove it from the data set",
    )


def _corrupt(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be decoded",
        expected="a whole image file",
        got=f"{type(error).__name__}: {error}",
        fix="replace the file or remove it from the data set",
    )
