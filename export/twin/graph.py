"""What the twin reads from an ONNX graph before it computes: nodes, constants, and which of these are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import onnx
from onnx import TensorProto

from ...runtime.errors import ModelError, UnsupportedOperatorError
from .graph_constants import constant_types
from .nodes import BLACK_BOX, ELEMENT_TYPE, INTEGERS, RESULT_TYPE, Node
from .operators.attributes import unknown_setting
from .operators.integer import REQUANTIZED
from .operators.real import FLATTENED
from .operators.supported import OPERATORS, SEVERAL
from .qoperators import MICROSOFT, QUANTIZED, lowered
from .value_types import element_types

__all__ = [
    "Input",
    "Stored",
    "image_input",
    "in_single_precision",
    "read_names",
    "read_nodes",
    "refuse_unknown",
    "stored_integers",
    "trained",
]

Array = npt.NDArray[Any]

_FROM_MICROSOFT = frozenset({"DequantizeLinear", "Gelu", "QuantizeLinear"})  # the same as ONNX's of these names


class Input(NamedTuple):
    """The graph's image input; `batch` is 0 where any number of images may come."""

    name: str
    is_pixels: bool
    shape: tuple[int, int, int]
    batch: int


class Stored(NamedTuple):
    """How a DequantizeLinear reads stored integers: the names of scale and zero point, and the axis they run along."""

    scale: str
    zero: str
    axis: int


def image_input(graph: onnx.GraphProto) -> Input:
    """The one input that is no initializer.

    Raises:
        ModelError: more inputs than one, or not [N, C, H, W] with fixed C, H and W.
    """
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(dims) != 4 or not all(dims[1:]):
        raise ModelError(
            "the ONNX graph",
            expected="one input [N, C, H, W] with fixed C, H and W",
            got=f"{len(inputs)} inputs, shape {dims}",
            fix="export a classifier",
        )
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in (onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT):
        raise ModelError(
            f"the ONNX graph's input {inputs[0].name!r}",
            expected="uint8 pixels, or float32 in [0, 1]",
            got=onnx.TensorProto.DataType.Name(kind),
        )
    return Input(inputs[0].name, kind == onnx.TensorProto.UINT8, (dims[1], dims[2], dims[3]), dims[0])


def read_names(graph: onnx.GraphProto) -> set[str]:
    """What the nodes behind the first output read, and that output."""
    names = {name for node in _needed(graph) for name in node.input}
    return {*names, graph.output[0].name} - {""}


def read_nodes(model: onnx.ModelProto, constants: dict[str, Array]) -> list[Node]:
    """The nodes that the first output is made of, but for the constants, in graph order.

    Operators on quantized tensors are replaced by what they compute (`qoperators.py`).

    Args:
        model: of known operators (`refuse_unknown`).
        constants: as `read_constants` gives them; those that replaced operators read are added.
    """
    opset, graph = _opset(model), model.graph
    found = lowered([node for node in _needed(graph) if node.op_type != "Constant"], constants)
    readers: dict[str, list[onnx.NodeProto]] = {}
    fixed = {*constants, ""}
    for node in found:
        for name in node.input:
            readers.setdefault(name, []).append(node)
        if node.op_type == "DequantizeLinear":
            fixed.add(node.output[0])
    types = element_types(found, graph.input, constant_types(graph, constants))
    return [
        _node(node, opset, types, requantized=fixed.issuperset(node.input[1:]) and _is_requantized(node, readers))
        for node in found
    ]


def _node(node: onnx.NodeProto, opset: int, types: Mapping[str, int], *, requantized: bool) -> Node:
    attributes = _attributes(node)
    if node.op_type == "Split":
        attributes.setdefault("num_outputs", len(node.output))  # what it was before opset 18
    if node.op_type in ("Softmax", "LogSoftmax") and opset < 13:
        attributes.setdefault("axis", 1)
        attributes[FLATTENED] = True
    if node.op_type in ("Conv", "Gemm"):
        attributes[REQUANTIZED] = requantized
    attributes[ELEMENT_TYPE] = types.get(node.input[0], 0) if node.input else 0
    attributes[RESULT_TYPE] = types.get(node.output[0], 0)
    return Node(node.op_type, tuple(node.input), tuple(node.output), attributes, _label(node))


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} (node {(node.name or node.output[0])!r})"


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes behind the first output."""
    wanted, needed = {graph.output[0].name}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            needed.append(node)
            wanted.update(node.input)
    return needed[::-1]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _is_requantized(node: onnx.NodeProto, readers: Mapping[str, Sequence[onnx.NodeProto]]) -> bool:
    """Whether one QuantizeLinear alone reads the result, through clamps at most."""
    name = node.output[0]
    while len(readers.get(name, ())) == 1:
        (reader,) = readers[name]
        if reader.op_type == "QuantizeLinear":
            return True
        if reader.op_type not in ("Relu", "Clip"):
            return False
        name = reader.output[0]
    return False


def refuse_unknown(model: onnx.ModelProto) -> None:
    """Refuse a graph that the twin cannot compute.

    Raises:
        UnsupportedOperatorError: operators that the twin does not know, all of them listed.
        ModelError: operators newer than the package onnx.
    """
    opset, newest = _opset(model), onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ModelError("the ONNX graph", expected=f"opset {newest} or older", got=f"opset {opset}", fix=BLACK_BOX)
    unknown: dict[str, list[str]] = {}
    for node in _needed(model.graph):
        if what := _unknown(node, opset):
            unknown.setdefault(what, []).append(node.name or node.output[0])
    if unknown:
        raise UnsupportedOperatorError(
            "the twin does not know all operators of this graph",
            got=", ".join(f"{op} ({', '.join(names[:3])})" for op, names in sorted(unknown.items())),
            fix=BLACK_BOX,
        )


def _unknown(node: onnx.NodeProto, opset: int) -> str:
    """What the twin does not know about a node, "" where it knows it."""
    label = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    microsoft = node.domain == "com.microsoft"
    ours = node.domain in ("", "ai.onnx") or (microsoft and node.op_type in _FROM_MICROSOFT | MICROSOFT)
    if ours and node.op_type == "Constant":
        return ""
    quantized = node.op_type in QUANTIZED and microsoft == (node.op_type in MICROSOFT)
    if not ours or not (node.op_type in OPERATORS or quantized):
        return label
    more = [name for name in node.output[1:] if name]
    if more and node.op_type not in SEVERAL:
        return f"{label} with {1 + len(more)} outputs"
    setting = unknown_setting(node, opset)
    return f"{label} with {setting}" if setting else ""


def in_single_precision(nodes: Sequence[Node]) -> bool:
    """Whether all that depends on the image is float32, so that lower precision changes only the last bits of it."""
    return not any(
        node.attributes[RESULT_TYPE] in _OTHER_FLOATS
        or node.op_type in ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear")
        or (node.op_type in ("Cast", "CastLike") and node.attributes[RESULT_TYPE] in INTEGERS)
        for node in nodes
    )


_OTHER_FLOATS = (TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT16)


def trained(nodes: Sequence[Node]) -> set[str]:
    """Names of the tensors that Conv, Gemm, MatMul and Add take as weights and biases, through Q/DQ where there is."""
    source = {
        node.outputs[0]: node.inputs[0] for node in nodes if node.op_type in ("DequantizeLinear", "QuantizeLinear")
    }
    found: set[str] = set()
    for node in nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "Add"):
            continue
        for name in node.inputs[0 if node.op_type in ("Add", "MatMul") else 1 :]:
            origin = name
            while origin in source:
                origin = source[origin]
            found.add(origin)
    return found


def stored_integers(nodes: Sequence[Node]) -> dict[str, Stored]:
    """What DequantizeLinear reads, by name, but for what is stored in blocks or in 4 bits."""
    return {
        node.inputs[0]: Stored(
            node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else "", node.attributes.get("axis", 1)
        )
        for node in nodes
        if node.op_type == "DequantizeLinear"
        and not node.attributes.get("block_size", 0)
        and node.attributes[ELEMENT_TYPE] not in (TensorProto.INT4, TensorProto.UINT4)
    }
