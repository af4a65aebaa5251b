"""`.npz` files made to break their reader: each ends in one DataError, and before memory is asked for."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from hardtemper.runtime.errors import DataError
from hardtemper.runtime.files.npz import SMALL_BYTES, read_arrays


def member(shape: tuple[int, ...], *, descr: str = "|u1", body: bytes = bytes(64)) -> bytes:
    """A .npy whose header claims a shape."""
    content = io.BytesIO()
    npy.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue() + body


def zipped(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> bytearray:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("images.npy", content)
    return bytearray(path.read_bytes())


def patched(path: Path, *, field: int, value: int, size: int = 4, method: int = zipfile.ZIP_DEFLATED) -> None:
    """A sound file, but for a field of its central directory."""
    data = zipped(path, member((64,)), method)
    at = data.index(b"PK\x01\x02") + field
    data[at : at + size] = value.to_bytes(size, "little")
    path.write_bytes(data)


def damaged_lzma(path: Path) -> None:
    data = zipped(path, member((64,)), zipfile.ZIP_LZMA)
    data[50:60] = bytes(10)
    path.write_bytes(data)


def both_sizes(path: Path) -> None:
    """Stored, and larger than the whole file."""
    data = zipped(path, member((2**31 - 128,)))
    at = data.index(b"PK\x01\x02") + 20
    data[at : at + 8] = struct.pack("<2L", 2**31, 2**31)
    path.write_bytes(data)


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "encrypted": (lambda p: patched(p, field=8, value=1, size=2), "RuntimeError: .* is encrypted"),
    "claims a terabyte": (lambda p: zipped(p, member((2**40,))), r"\[1099511627776\] takes 1099511627776 bytes, .* 64"),
    "overflows int64": (lambda p: zipped(p, member((2**32, 2**32))), "takes 18446744073709551616 bytes"),
    "claims a large item": (lambda p: zipped(p, member((64,), descr="|V999999999")), "the file holds 64"),
    "claims nothing, often": (lambda p: zipped(p, member((2**40,), descr="|S0", body=b"")), "the file holds 0"),
    "a negative size": (lambda p: zipped(p, member((-1, -64))), "ValueError"),
    "claims less": (lambda p: zipped(p, member((63,))), "takes 63 bytes, the file holds 64"),
    "forged unpacked size": (lambda p: patched(p, field=24, value=2**32 - 2), "4294967294 bytes cannot come of"),
    "forged packed size": (lambda p: patched(p, field=20, value=2**31), "2147483648 packed bytes in a file of"),
    "forged sizes": (both_sizes, "2147483648 packed bytes in a file of"),
    "unknown compression": (lambda p: patched(p, field=10, value=99, size=2), "compression method 99"),
    "lzma, damaged": (damaged_lzma, "compression method 14"),
    "no .npy": (lambda p: zipped(p, b"not an array"), "ValueError"),
    "another .npy": (lambda p: zipped(p, b"\x93NUMPY\x03\x00" + bytes(64)), "version"),
    "nested header": (lambda p: zipped(p, b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10000), "got: "),
    "objects": (lambda p: np.savez(p, images=np.array([{}], object)), "Object arrays cannot be loaded"),
    "no zip": (lambda p: p.write_bytes(b"no zip"), "BadZipFile"),
    "empty": (lambda p: p.write_bytes(b""), "BadZipFile"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_before_memory_is_asked_for(tmp_path: Path, name: str) -> None:
    make, message = HOSTILE[name]
    path = tmp_path / "x.npz"
    make(path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message) as caught:
            read_arrays(path, ["images"], most=2**40)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path} cannot be read; expected: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1000, 100, 100), np.uint8),  # as densely as deflate packs
        np.arange(24.0).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["cat", "a dog"]),
        np.array("text"),
        np.zeros((0, 5), np.int64),
        np.array([True, False]),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_what_numpy_writes_is_read(tmp_path: Path, save: Any, array: Any) -> None:
    save(tmp_path / "x.npz", array=array, other=np.arange(3))
    arrays, names = read_arrays(tmp_path / "x.npz", ["array", "absent"], most=2**40)
    assert (list(arrays), names) == (["array"], ("array", "other"))
    np.testing.assert_array_equal(arrays["array"], array)
    assert arrays["array"].dtype == array.dtype


def test_what_deflates_too_far_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(SMALL_BYTES // 2, np.uint8), b=np.zeros(SMALL_BYTES // 2 + 1, np.uint8))
    assert path.stat().st_size < SMALL_BYTES / 500
    with pytest.raises(DataError, match=f"at most {SMALL_BYTES} are read"):
        read_arrays(path, ["a", "b"], most=2**40)
    assert read_arrays(path, ["a"], most=2**40)[0]["a"].nbytes == SMALL_BYTES // 2


def test_no_more_is_read_than_the_reader_takes(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(1000, np.uint8))
    assert read_arrays(path, ["a"], most=1128)[0]["a"].nbytes == 1000
    with pytest.raises(DataError, match="arrays of 1128 bytes, packed into 1128: at most 1127 are read"):
        read_arrays(path, ["a"], most=1127)


def test_what_is_not_wanted_is_not_touched(tmp_path: Path) -> None:
    zipped(tmp_path / "x.npz", member((2**40,)))
    assert read_arrays(tmp_path / "x.npz", ["labels"], most=2**40) == ({}, ("images",))


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz", [], most=2**40)
