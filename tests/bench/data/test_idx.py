"""The IDX parser against arrays written by the format's own rules, damaged files, and arbitrary bytes."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hardtemper.bench.data.idx import parse_idx, read_idx
from hardtemper.runtime.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def write(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@settings(deadline=None)
@given(
    st.sampled_from(sorted(CODES)).flatmap(
        lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(max_dims=4, max_side=5))
    ),
    st.booleans(),
)
def test_every_type_and_shape_comes_back(array: np.ndarray, zipped: bool) -> None:
    data = write(array)
    result = parse_idx(gzip.compress(data) if zipped else data)
    assert result.dtype == array.dtype
    assert result.dtype.isnative
    assert result.flags.writeable
    np.testing.assert_array_equal(result, array)


SAMPLE = write(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
BAD = {
    "empty": (b"", "wrong magic number", "an empty file"),
    "text": (b"<html>", "wrong magic number", "3C 68 74 6D"),
    "little-endian magic": (bytes([3, 8, 0, 0]) + SAMPLE[4:], "wrong magic number", "03 08 00 00"),
    "unknown type": (b"\0\0\x0a\x01" + SAMPLE[4:], "wrong magic number", "00 00 0A 01"),
    "no dimension": (b"\0\0\x08\0", "wrong number of dimensions", "0"),
    "255 dimensions": (b"\0\0\x08\xff" + bytes(2000), "wrong number of dimensions", "255"),
    "cut in the header": (SAMPLE[:9], "truncated header", "9 bytes"),
    "cut in the data": (SAMPLE[:-1], "truncated", f"{len(SAMPLE) - 1} bytes"),
    "too long": (SAMPLE + b"\0", "trailing bytes", f"{len(SAMPLE) + 1} bytes"),
    "no element": (b"\0\0\x08\x01\0\0\0\0", "an empty dimension", "8 bytes"),
    "2^96 elements": (b"\0\0\x08\x03" + b"\xff" * 12, "truncated", "16 bytes"),
    "gzip, cut": (gzip.compress(SAMPLE)[:-4], "not a whole gzip file", ""),
    "gzip, damaged": (gzip.compress(SAMPLE)[:12] + b"\xff\xff" + gzip.compress(SAMPLE)[14:], "not a whole gzip", ""),
    "gzip magic alone": (b"\x1f\x8b", "not a whole gzip file", ""),
    "gzip of something else": (gzip.compress(b"hello"), "wrong magic number", "68 65 6C 6C"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_damage_is_named(case: tuple[bytes, str, str], tmp_path: Path) -> None:
    data, message, got = case
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    error = caught.value
    assert str(path) in error.what
    assert error.expected
    assert error.fix
    assert error.got == got or not got


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent cannot be read"):
        read_idx(tmp_path / "absent")


HEADERS = st.builds(
    lambda code, shape, rest: struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + rest,
    st.sampled_from(sorted(CODES.values())),
    st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 3), max_size=10),
    st.binary(max_size=64),
)
DAMAGED = st.builds(
    lambda data, place, value: data[:place] + bytes([value]) + data[place + 1 :],
    st.sampled_from([SAMPLE, gzip.compress(SAMPLE)]),
    st.integers(0, 60),
    st.integers(0, 255),
)


@settings(deadline=None)
@given(st.binary() | HEADERS | HEADERS.map(gzip.compress) | DAMAGED | st.binary().map(b"\x1f\x8b".__add__))
def test_any_bytes_are_an_array_or_an_error(data: bytes) -> None:
    try:
        result = parse_idx(data)
    except DataError:
        return
    assert result.dtype.str[1:] in CODES
    assert 1 <= result.ndim <= 8
    plain = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    assert plain == write(result)
