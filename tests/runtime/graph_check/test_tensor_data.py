"""Tensors as the package onnx writes them, raw and typed, of every element type; then with data that do not fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.onnx_records import Tensor
from hardtemper.runtime.graph_check.tensor_data import ELEMENT_TYPES, FLOATS, INTEGERS, complaint, integers
from hardtemper.runtime.graph_check.wire import Wire


def read(make_model: Any, tensor: TensorProto) -> tuple[Wire, Tensor]:
    wire = Wire(make_model([], {"w": tensor}), most=1_000_000)
    return wire, read_model(wire).tensors[0]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("number", ELEMENT_TYPES)
@pytest.mark.parametrize("dims", [[], [3], [2, 3], [0, 3]], ids=str)
def test_what_onnx_writes_fits(make_model: Any, number: int, dims: list[int], raw: bool) -> None:
    element = ELEMENT_TYPES[number]
    assert TensorProto.DataType.Name(number) == element.name
    count = math.prod(dims)
    if raw:
        tensor = TensorProto(name="w", data_type=number, dims=dims, raw_data=bytes((count * element.bits + 7) // 8))
    else:
        tensor = helper.make_tensor("w", number, dims, [1] * count)
    assert complaint(*read(make_model, tensor)) is None
    longer = TensorProto()
    longer.CopyFrom(tensor)
    longer.dims.append(9 if count else 1)
    if count:
        expected, got = complaint(*read(make_model, longer)) or ("", "")
        assert element.name in expected
        assert expected.split()[1] == got.split()[1] == ("bytes" if raw else "values")


def test_every_type_is_float_integer_or_neither() -> None:
    neither = {number for number in ELEMENT_TYPES if number not in FLOATS | INTEGERS}
    assert {ELEMENT_TYPES[number].name for number in neither} == {
        "BOOL", "COMPLEX64", "COMPLEX128", "UINT4", "INT4", "UINT2", "INT2"
    }  # fmt: skip
    assert not FLOATS & INTEGERS


@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8),
    dtype=st.sampled_from(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]),
    raw=st.booleans(),
)
def test_integers_are_numpys(make_model: Any, values: list[int], dtype: str, raw: bool) -> None:
    array = np.array(values, np.int64).astype(dtype)
    tensor = numpy_helper.from_array(array, "w")
    if not raw:
        tensor = helper.make_tensor("w", tensor.data_type, [len(array)], array.tolist())
    found = integers(*read(make_model, tensor))
    assert found is not None
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_what_is_no_small_integer_tensor(make_model: Any) -> None:
    assert integers(*read(make_model, numpy_helper.from_array(np.float32([1]), "w"))) is None
    many = helper.make_tensor("w", TensorProto.INT64, [70_000], [0] * 70_000)
    assert complaint(*read(make_model, many)) is None
    assert integers(*read(make_model, many)) is None
    raw = integers(*read(make_model, numpy_helper.from_array(np.arange(70_000), "w")))
    assert raw is not None
    assert raw[-1] == 69_999


@pytest.mark.parametrize(
    ("tensor", "expected", "got"),
    [
        (TensorProto(data_type=1, dims=[2**62], raw_data=b"1234"), f"{2**64} bytes", "4 bytes"),
        (TensorProto(data_type=1, dims=[2**32, 2**32], raw_data=b""), f"{2**66} bytes", "0 bytes"),
        (TensorProto(data_type=1, dims=[-1], raw_data=b"1234"), "sizes of 0 or more", "[-1]"),
        (TensorProto(data_type=1, dims=[1] * 65, raw_data=b"1234"), "at most 64 dimensions", "65"),
        (TensorProto(data_type=1, dims=[2], raw_data=b"1234"), "8 bytes for FLOAT [2]", "4 bytes"),
        (TensorProto(data_type=1, dims=[1]), "1 values for FLOAT [1]", "0 values"),
        (TensorProto(data_type=1, dims=[1], int32_data=[1]), "1 values for FLOAT [1]", "0 values"),
        (TensorProto(data_type=22, dims=[3], raw_data=b"123"), "2 bytes for INT4 [3]", "3 bytes"),
        (TensorProto(data_type=8, dims=[1], string_data=[b"x"]), "an element type of numbers", "text"),
        (TensorProto(data_type=99, dims=[1], raw_data=b"1"), "an element type of numbers", "number 99"),
        (TensorProto(dims=[1], raw_data=b"1"), "an element type of numbers", "number 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit(make_model: Any, tensor: TensorProto, expected: str, got: str) -> None:
    found = complaint(*read(make_model, tensor))
    assert found is not None
    assert found[0].startswith(expected)
    assert found[1] == got
