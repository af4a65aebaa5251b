"""A tensor's data against what its shape claims.

Rule (onnx.proto, TensorProto): n elements of b bits are ceil(n b / 8) raw bytes, or n values of the one typed field
that the element type names (two for a complex number, one for two of 4 bits and for four of 2).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .limits import MOST_RANK
from .onnx_records import Tensor
from .wire import Wire, signed

__all__ = ["ELEMENT_TYPES", "FLOATS", "INTEGERS", "ElementType", "complaint", "integers"]


class ElementType(NamedTuple):
    """How the elements of a type are stored.

    Attributes:
        name: ONNX's.
        bits: of an element.
        field: the number of the typed field.
        values: how many values of that field an element takes.
        dtype: NumPy's, little-endian; "" where NumPy has none.
    """

    name: str
    bits: int
    field: int
    values: float
    dtype: str


_FLOAT, _INT32, _INT64, _DOUBLE, _UINT64 = 4, 5, 7, 10, 11

ELEMENT_TYPES = {
    1: ElementType("FLOAT", 32, _FLOAT, 1, "<f4"),
    2: ElementType("UINT8", 8, _INT32, 1, "u1"),
    3: ElementType("INT8", 8, _INT32, 1, "i1"),
    4: ElementType("UINT16", 16, _INT32, 1, "<u2"),
    5: ElementType("INT16", 16, _INT32, 1, "<i2"),
    6: ElementType("INT32", 32, _INT32, 1, "<i4"),
    7: ElementType("INT64", 64, _INT64, 1, "<i8"),
    9: ElementType("BOOL", 8, _INT32, 1, "u1"),
    10: ElementType("FLOAT16", 16, _INT32, 1, "<f2"),
    11: ElementType("DOUBLE", 64, _DOUBLE, 1, "<f8"),
    12: ElementType("UINT32", 32, _UINT64, 1, "<u4"),
    13: ElementType("UINT64", 64, _UINT64, 1, "<u8"),
    14: ElementType("COMPLEX64", 64, _FLOAT, 2, ""),
    15: ElementType("COMPLEX128", 128, _DOUBLE, 2, ""),
    16: ElementType("BFLOAT16", 16, _INT32, 1, ""),
    17: ElementType("FLOAT8E4M3FN", 8, _INT32, 1, ""),
    18: ElementType("FLOAT8E4M3FNUZ", 8, _INT32, 1, ""),
    19: ElementType("FLOAT8E5M2", 8, _INT32, 1, ""),
    20: ElementType("FLOAT8E5M2FNUZ", 8, _INT32, 1, ""),
    21: ElementType("UINT4", 4, _INT32, 1 / 2, ""),
    22: ElementType("INT4", 4, _INT32, 1 / 2, ""),
    23: ElementType("FLOAT4E2M1", 4, _INT32, 1 / 2, ""),
    24: ElementType("FLOAT8E8M0", 8, _INT32, 1, ""),
    25: ElementType("UINT2", 2, _INT32, 1 / 4, ""),
    26: ElementType("INT2", 2, _INT32, 1 / 4, ""),
}
"""By number in TensorProto.DataType; text (8) is no element of a network."""

FLOATS = frozenset({1, 10, 11, 16, 17, 18, 19, 20, 23, 24})
INTEGERS = frozenset({2, 3, 4, 5, 6, 7, 12, 13})

_MOST_DECODED = 65_536
"""Integers of a typed field that are decoded; a constant of more is stored raw, as every exporter does."""

_VALUE_BYTES = {_FLOAT: 4, _DOUBLE: 8}


def complaint(wire: Wire, tensor: Tensor) -> tuple[str, str] | None:
    """What is wrong with a tensor's data: what was expected and what is there; None where it fits.

    Raises:
        WireError: a packed field is cut off.
    """
    element = ELEMENT_TYPES.get(tensor.data_type)
    if element is None:
        got = "text" if tensor.data_type == 8 else f"number {tensor.data_type}"
        return "an element type of numbers", got
    if len(tensor.dims) > MOST_RANK:
        return f"at most {MOST_RANK} dimensions", str(len(tensor.dims))
    if any(size < 0 for size in tensor.dims):
        return "sizes of 0 or more", str(list(tensor.dims))
    count = math.prod(tensor.dims)
    if tensor.raw is not None:
        needed, held, unit = (count * element.bits + 7) // 8, tensor.raw[1] - tensor.raw[0], "bytes"
    else:
        needed, held, unit = math.ceil(count * element.values), _held(wire, tensor, element), "values"
    if needed == held:
        return None
    return f"{needed} {unit} for {element.name} {list(tensor.dims)}", f"{held} {unit}"


def integers(wire: Wire, tensor: Tensor) -> NDArray[Any] | None:
    """The values of an integer tensor whose data fits, flat; None of another type, or of too many to decode.

    Raises:
        WireError: as `complaint`.
    """
    if tensor.data_type not in INTEGERS or tensor.external:
        return None
    element = ELEMENT_TYPES[tensor.data_type]
    if tensor.raw is not None:
        start, end = tensor.raw
        return np.frombuffer(wire.data, element.dtype, (end - start) * 8 // element.bits, start)
    if _held(wire, tensor, element) > _MOST_DECODED:
        return None
    found: list[int] = []
    for tag, start, end in tensor.typed:
        if tag >> 3 == element.field:
            found += wire.varints(start, end) if tag & 7 == 2 else [start]
    bits = 64 if element.field in (_INT64, _UINT64) else 32
    wide = np.array([signed(value, bits) for value in found], np.int64)
    return wide.astype(element.dtype)  # of a wider number the low bits count


def _held(wire: Wire, tensor: Tensor, element: ElementType) -> int:
    """How many values the typed field of a tensor has, packed or not."""
    held = 0
    width = _VALUE_BYTES.get(element.field)
    for tag, start, end in tensor.typed:
        if tag >> 3 != element.field:
            continue
        if tag & 7 != 2:
            held += 1
        elif width is None:
            held += wire.count_varints(start, end)
        else:
            held += (end - start) // width
    return held
