"""Mutations of arrays, `.npz` files and IDX files: what they hold, and what their headers claim."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import struct
import zipfile
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

import numpy as np
from mutate_bytes import ODD_INTEGERS, mutate_bytes
from mutate_json import odd_value

__all__ = ["mutate_arrays", "mutate_idx", "mutate_npz", "pack", "seal_verdict"]

_KINDS = ("u1", "i1", "i2", "<i8", ">i8", "u8", "f2", "f4", "f8", "b1", "c8", "U3", "S5", "M8[s]", "V3", "O")


def mutate_arrays(random: Random, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name, one or two of them changed."""
    found = {name: np.array(array) for name, array in arrays.items()}
    for _ in range(random.randint(1, 2)):
        if not found:
            break
        name = random.choice(sorted(found))
        array = found[name]
        match random.randrange(9):
            case 0:
                del found[name]
            case 1:
                found[random.choice((f"{name}x", str(odd_value(random, 9)), ""))] = found.pop(name)
            case 2:
                found[name] = _cast(array, random.choice(_KINDS))
            case 3:
                found[name] = array[: random.randrange(len(array) + 1)] if array.ndim else array[None]
            case 4:
                found[name] = random.choice((array[None], array.reshape(-1), array[..., None], array.T))
            case 5 if array.size and array.dtype.kind in "iufb":
                changed = array.copy().reshape(-1)
                odd = (*ODD_INTEGERS, float("nan"), float("inf"), 0.5)
                with np.errstate(all="ignore"):
                    value = np.array(random.choice(odd), "f8").astype(changed.dtype)
                changed[random.randrange(changed.size)] = value
                found[name] = changed.reshape(array.shape)
            case 6:
                found[name] = np.array(random.choice((0, "text", 0.5, b"x", None)))
            case 7:
                found[name] = found[random.choice(sorted(found))]
            case _:
                shape = random.choice(((0,), (0, 1, 8, 8), (1, 0), (2, 3, 8, 8), (16, 9, 9), (1,) * 40))
                found[name] = np.zeros(shape, array.dtype)
    return found


def _cast(array: Any, kind: str) -> Any:
    with np.errstate(all="ignore"):
        try:
            return array.astype(kind)
        except (ValueError, TypeError):
            return np.zeros(array.shape, kind)


def pack(arrays: Mapping[str, Any], *, compressed: bool = True) -> bytes:
    """An `.npz` file, of any name and with objects too."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            content, stored = io.BytesIO(), np.asarray(array)
            if stored.dtype.hasobject and stored.ndim > 32:
                stored = stored.reshape(-1)  # NumPy pickles no more dimensions
            np.lib.format.write_array(content, stored, allow_pickle=True)
            file.writestr(_member(f"{name}.npy"), content.getvalue(), method)
    return buffer.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    """Always of one date, so that one seed gives one file."""
    return zipfile.ZipInfo(name.encode("utf-8", "replace").decode(), (1980, 1, 1, 0, 0, 0))


def mutate_npz(random: Random, content: bytes, *, header: Any = None) -> bytes:
    """An `.npz` file whose arrays, members or bytes are changed.

    Args:
        header: of a verdict: called with the arrays, puts their hashes where they belong.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    match random.randrange(6):
        case 0:
            return mutate_bytes(random, content)
        case 1:
            return _lying(random, arrays)
        case 2:
            return _bomb(random, arrays)
        case _:
            changed = mutate_arrays(random, arrays)
            return pack(changed if header is None else header(changed), compressed=random.random() < 0.7)


def _lying(random: Random, arrays: Mapping[str, Any]) -> bytes:
    """A member whose .npy header claims another shape or type, or that is there twice."""
    buffer, chosen = io.BytesIO(), random.choice(sorted(arrays))
    method = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array)
            raw = content.getvalue()
            if name == chosen:
                shape = random.choice(((2**40,), (-1,), (2**31, 2**31), (0,), (1,) * 80, array.shape[:-1]))
                kind = random.choice(("|u1", "|O", "<f8", "<i8", "[('a','u1')]", "<U999999999", "|V0"))
                text = random.choice(
                    (f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}", "{" * 500, "1" * 300)
                )
                start = raw[:8] + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"
                raw = random.choice((start + array.tobytes(), start, mutate_bytes(random, raw)))
            file.writestr(_member(f"{name}.npy"), raw, method)
    return buffer.getvalue()


def _bomb(random: Random, arrays: Mapping[str, Any]) -> bytes:
    """An array of many zeros, which packs to little."""
    name = random.choice(sorted(arrays))
    array = arrays[name]
    row = array.itemsize * math.prod(array.shape[1:])
    count = max(1, random.choice((2**20, 2**23, 2**26)) // row)
    return pack({**arrays, name: np.zeros((count, *array.shape[1:]), array.dtype)})


@cache
def _zeros() -> bytes:
    """16 MiB, packed."""
    return gzip.compress(bytes(2**24), mtime=0)


def mutate_idx(random: Random, content: bytes) -> bytes:
    """An IDX file with a changed header, cut off, or packed by gzip, once or much."""
    match random.randrange(6):
        case 0:
            return mutate_bytes(random, content)
        case 1:
            changed = bytearray(content)
            changed[random.randrange(min(16, len(changed)))] = random.choice((0, 1, 3, 8, 9, 13, 14, 127, 255))
            return bytes(changed)
        case 2:
            at = 4 + 4 * random.randrange(3)
            return content[:at] + struct.pack(">I", random.choice(ODD_INTEGERS) % 2**32) + content[at + 4 :]
        case 3:
            packed = gzip.compress(content, mtime=0)
            return random.choice(
                (packed, mutate_bytes(random, packed), packed + packed, gzip.compress(packed, mtime=0))
            )
        case 4:
            count = random.choice((1, 4, 192))  # of members of 16 MiB, which gzip allows one after another
            header = gzip.compress(struct.pack(">HBB3I", 0, 8, 3, count, 4096, 4096), mtime=0)
            return header + _zeros() * count
        case _:
            return (
                struct.pack(">HBB", 0, random.choice((8, 9, 11, 12, 13, 14)), random.choice((0, 1, 3, 4, 255)))
                + content[4:]
            )


def seal_verdict(arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a verdict with their hashes in its header."""
    try:
        header = json.loads(str(arrays["header"]))
        header["sha256"] = {
            name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
            for name, array in arrays.items()
            if name != "header"
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return arrays
    return {**arrays, "header": np.array(json.dumps(header))}
