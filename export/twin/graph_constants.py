"""The constants of an ONNX graph: initializers and Constant nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from ...runtime.errors import ModelError
from .nodes import BLACK_BOX

__all__ = ["constant_types", "read_constants", "stored_tensors"]

Array = npt.NDArray[Any]

_BITS = (8, 16, 32, 64)
_KINDS = {"bool", *(f"float{n}" for n in _BITS[1:]), *(f"int{n}" for n in _BITS), *(f"uint{n}" for n in _BITS)}
_TENSORS = "floats, integers or booleans"
_FOUR_BITS: dict[int, type[np.integer[Any]]] = {TensorProto.INT4: np.int8, TensorProto.UINT4: np.uint8}
_PLAIN = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def read_constants(graph: onnx.GraphProto, wanted: Collection[str]) -> dict[str, Array]:
    """Those of the names in `wanted`, by name. Integers of 4 bits come as bytes.

    Raises:
        ModelError: an element type that the twin does not have, or a sparse tensor.
    """
    for sparse in graph.sparse_initializer:
        if sparse.values.name in wanted:
            what = f"the constant {sparse.values.name!r}"
            raise ModelError(what, expected="a dense tensor", got="a sparse one", fix=BLACK_BOX)
    arrays = {tensor.name: _array(tensor.name, tensor) for tensor in graph.initializer if tensor.name in wanted}
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in wanted:
            arrays[node.output[0]] = _constant(node)
    return arrays


def stored_tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Each constant that is a tensor, with its name; what is written into it stands in the graph."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield node.output[0], attribute.t


def constant_types(graph: onnx.GraphProto, constants: Mapping[str, Array]) -> dict[str, int]:
    """TensorProto's number of the type of each constant."""
    types = {name: int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype)) for name, array in constants.items()}
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            stored[node.output[0]] = node.attribute[0].t.data_type if node.attribute else 0
    return types | {name: kind for name, kind in stored.items() if name in types and kind in _FOUR_BITS}


def _constant(node: onnx.NodeProto) -> Array:
    name, attributes = node.output[0], list(node.attribute)
    if len(attributes) != 1:
        raise ModelError(f"the constant {name!r}", expected="one value", got=f"{len(attributes)}")
    value = onnx.helper.get_attribute_value(attributes[0])
    if isinstance(value, onnx.TensorProto):
        return _array(name, value)
    if attributes[0].name not in _PLAIN:
        raise ModelError(f"the constant {name!r}", expected=_TENSORS, got=attributes[0].name, fix=BLACK_BOX)
    return np.array(value, _PLAIN[attributes[0].name])


def _array(name: str, tensor: onnx.TensorProto) -> Array:
    array: Array = numpy_helper.to_array(tensor)
    if tensor.data_type in _FOUR_BITS:
        return array.astype(_FOUR_BITS[tensor.data_type])
    if array.dtype.name not in _KINDS:
        raise ModelError(f"the constant {name!r}", expected=_TENSORS, got=f"element type {array.dtype}", fix=BLACK_BOX)
    return array
