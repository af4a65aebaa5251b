"""One image file at a time: formats, kinds of pixels, and what must not be opened or decoded at all."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pytest

from hardtemper.bench.data import picture
from hardtemper.bench.data.picture import LARGEST_PIXELS, SUFFIXES, read_header, read_pixels
from hardtemper.bench.data.tally import Tally
from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import DataError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (7, 9, 3), np.uint8)
RGB = PIL.Image.fromarray(COLOURS)
GRAY = RGB.convert("L")


def read(path: Path, *, gray: bool = False) -> tuple[np.ndarray, str]:
    """The pixels and how they were read."""
    ways = Tally()
    return read_pixels(path, gray=gray, image_size=None, ways=ways), str(ways)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_ending_in_any_case(tmp_path: Path, suffix: str) -> None:
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"0{suffix.upper()}"
    RGB.save(path, format=SUFFIXES[suffix], **options)
    assert read_header(path).size == (9, 7)
    pixels, ways = read(path)
    with PIL.Image.open(path) as oracle:
        np.testing.assert_array_equal(pixels, np.asarray(oracle.convert("RGB")))
    assert ways == ""


def test_endings_are_those_of_torchvision_and_pillow() -> None:
    PIL.Image.init()
    assert set(torchvision().datasets.folder.IMG_EXTENSIONS) <= set(SUFFIXES)
    assert {suffix: PIL.Image.EXTENSION[suffix] for suffix in SUFFIXES} == SUFFIXES


def test_another_format_than_the_ending_says(tmp_path: Path) -> None:
    """ImageNet holds a PNG that is named .JPEG."""
    path = tmp_path / "0.JPEG"
    RGB.save(path, format="PNG")
    pixels, ways = read(path)
    np.testing.assert_array_equal(pixels, COLOURS)
    assert ways == "1 of another format than the ending says (PNG for JPEG)"


def test_a_jpeg_of_several_pictures(tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    RGB.save(path, format="MPO", save_all=True, append_images=[RGB.rotate(180)])
    first = io.BytesIO()
    RGB.save(first, format="JPEG")
    pixels, ways = read(path)
    np.testing.assert_array_equal(pixels, np.asarray(PIL.Image.open(first)))
    assert ways == "1 of several frames (the first is read)"


def torchvisions(path: Path) -> np.ndarray:
    return np.asarray(torchvision().datasets.folder.pil_loader(str(path)))


INTERPRETED = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\n",
    "PDF": b"%PDF-1.4\n%%EOF\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='7'/>",
    "XPM": b'/* XPM */\nstatic char *x[] = {\n"1 1 1 1",\n"a c #000000",\n"a"\n};\n',
}


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for Ghostscript")
@pytest.mark.parametrize("kind", INTERPRETED)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_no_interpreter_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str) -> None:
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/mark\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    path = tmp_path / f"0{suffix}"
    path.write_bytes(INTERPRETED[kind])
    for reader in (read_header, read):
        with pytest.raises(DataError, match="cannot be decoded"):
            reader(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "JPEG2000", "ICNS", "SGI"])
def test_other_formats_are_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "0.png"
    RGB.resize((16, 16)).save(path, format=kind)
    with pytest.raises(DataError, match="cannot be decoded"):
        read_header(path)


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A gray PNG that claims to be of this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(LARGEST_PIXELS + 1, 1), (10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size))
    monkeypatch.setattr(PIL.Image.Image, "load", lambda _: pytest.fail("was decoded"))
    with pytest.raises(DataError, match="has too many pixels; expected: 67,108,864 at most"):
        read_header(path)


def test_as_many_pixels_as_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    path.write_bytes(png(LARGEST_PIXELS, 1))
    assert read_header(path).size == (LARGEST_PIXELS, 1)


@pytest.mark.parametrize(
    ("mode", "suffix", "way"),
    [
        ("1", ".png", "1 gray (red, green and blue alike)"),
        ("L", ".png", "1 gray (red, green and blue alike)"),
        ("LA", ".png", "1 gray (red, green and blue alike), 1 with transparency (dropped)"),
        ("P", ".png", ""),
        ("RGBA", ".png", "1 with transparency (dropped)"),
        ("RGBA", ".webp", "1 with transparency (dropped)"),
        ("CMYK", ".tif", "1 in CMYK (to RGB without a colour profile)"),
        ("CMYK", ".jpg", "1 in CMYK (to RGB without a colour profile)"),
        ("YCbCr", ".tif", "1 in YCbCr (to RGB without a colour profile)"),
        ("YCbCr", ".jpg", ""),  # JPEG's own
    ],
)
def test_kinds_of_pixels_as_torchvision_reads_them(tmp_path: Path, mode: str, suffix: str, way: str) -> None:
    path, image = tmp_path / f"0{suffix}", RGB.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(GRAY)
    image.save(path)
    pixels, ways = read(path)
    np.testing.assert_array_equal(pixels, torchvisions(path))
    assert ways == way


@pytest.mark.parametrize(("mode", "key"), [("P", bytes(range(256))), ("P", 3), ("L", 7), ("RGB", (1, 2, 3))])
def test_transparent_colours_are_transparency_too(tmp_path: Path, mode: str, key: Any) -> None:
    path = tmp_path / "0.png"
    image = RGB.convert(mode)
    image.save(path, transparency=key)
    pixels, ways = read(path, gray=mode == "L")
    np.testing.assert_array_equal(pixels, np.asarray(image if mode == "L" else image.convert("RGB")))
    assert ways == "1 with transparency (dropped)"


DEEP = RNG.integers(0, 65536, (7, 9), np.uint16)
DEEP_WAY = "1 of 16 bits a channel (read as 8)"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_gray_of_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"0{suffix}"
    PIL.Image.fromarray(DEEP).save(path)
    assert read_header(path).gray
    pixels, ways = read(path, gray=True)
    np.testing.assert_array_equal(pixels, DEEP >> 8)
    assert ways == DEEP_WAY
    pixels, ways = read(path)
    np.testing.assert_array_equal(pixels, (DEEP >> 8)[..., None].repeat(3, 2))
    assert ways == f"1 gray (red, green and blue alike), {DEEP_WAY}"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
def test_colours_of_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / f"0{suffix}"
    deep = RNG.integers(0, 65536, (7, 9, 3), np.uint16)
    assert cv2.imwrite(str(path), deep[..., ::-1])
    pixels, ways = read(path)
    assert np.abs(pixels.astype(int) - deep / 257).max() <= 1
    assert ways == DEEP_WAY


@pytest.mark.parametrize("array", [np.zeros((7, 9), np.float32), np.zeros((7, 9), np.int32)], ids=["float", "32 bits"])
def test_wider_channels_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "0.tif"
    PIL.Image.fromarray(array).save(path)
    with pytest.raises(DataError, match=r"0.tif is not an 8-bit image; expected: 8 or 16 bits .*; got: mode [FI]"):
        read_header(path)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_several_frames(tmp_path: Path, suffix: str) -> None:
    path, alone = tmp_path / f"0{suffix}", tmp_path / f"1{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    RGB.save(path, save_all=True, append_images=[RGB.rotate(90), RGB.rotate(180)], **options)
    RGB.save(alone, **options)
    pixels, ways = read(path)
    np.testing.assert_array_equal(pixels, read(alone)[0])
    assert ways.startswith("1 of several frames (the first is read)")
    assert read(alone)[1] == ""


def chained(tail: bytes, *, offset: int = 0) -> bytes:
    """A TIFF whose first directory says that the next lies in `tail`, so many bytes behind its start."""
    first = io.BytesIO()
    RGB.save(first, format="TIFF")
    data = bytearray(first.getvalue())
    data += bytes(len(data) % 2)
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * entries, len(data) + offset)
    return bytes(data + tail)


def test_a_second_frame_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "0.tif"
    path.write_bytes(chained(b"", offset=1000))
    pixels, ways = read(path)
    np.testing.assert_array_equal(pixels, COLOURS)
    assert ways == "1 of several frames (the first is read)"


def test_a_long_chain_of_frames_is_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To count 200,000 directories takes minutes."""
    path, length = tmp_path / "0.tif", len(chained(b""))
    path.write_bytes(chained(b"".join(struct.pack("<HI", 0, length + 6 * (index + 1)) for index in range(200_000))))
    directory, reads = PIL.TiffImagePlugin.ImageFileDirectory_v2, []
    load = directory.load

    def counted(self: Any, stream: Any) -> None:
        reads.append(stream)
        load(self, stream)

    monkeypatch.setattr(directory, "load", counted)
    assert read(path)[1] == "1 of several frames (the first is read)"
    assert len(reads) < 20


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_an_orientation_is_said_and_done_with_as_in_torchvision(tmp_path: Path, suffix: str) -> None:
    path, exif = tmp_path / f"0{suffix}", PIL.Image.Exif()
    exif[0x0112] = 6
    RGB.save(path, exif=exif)
    pixels, ways = read(path)
    np.testing.assert_array_equal(pixels, torchvisions(path))
    said = "an orientation of TIFF (applied)" if suffix == ".tif" else "an EXIF orientation (not applied, as in torch"
    assert ways.startswith(f"1 with {said}")
    exif[0x0112] = 1
    RGB.save(path, exif=exif)
    assert read(path)[1] == ""


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    RGB.save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert read(path)[1] == ""


def test_a_damaged_tiff_prints_nothing_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "0.tif"
    RGB.save(path, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[8:60] = bytes(52)
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="cannot be decoded"):
        read(path)
    os.write(2, b"afterwards")
    assert capfd.readouterr() == ("", "afterwards")


def test_the_image_size(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    RGB.save(path)
    assert read_pixels(path, gray=False, image_size=5, ways=Tally()).shape == (5, 5, 3)


def test_a_pillow_without_a_format_does_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    PIL.Image.init()
    monkeypatch.delitem(PIL.Image.OPEN, "WEBP")
    picture._formats.cache_clear()
    RGB.save(tmp_path / "0.png")
    RGB.save(tmp_path / "0.webp")
    assert read_header(tmp_path / "0.png").size == (9, 7)
    with pytest.raises(DataError, match=r"0\.webp cannot be decoded"):
        read_header(tmp_path / "0.webp")
    picture._formats.cache_clear()
