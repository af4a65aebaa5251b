"""What the twin reads from an ONNX graph before it computes: nodes, constants, and which of these are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ...runtime.errors import ModelError, UnsupportedOperatorError
from .operators.integer import REQUANTIZED
from .operators.real import FLATTENED
from .operators.supported import OPERATORS, SEVERAL, unknown_setting

__all__ = [
    "Input",
    "Node",
    "Stored",
    "free_batch",
    "image_input",
    "read_constants",
    "read_nodes",
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


class Node(NamedTuple):
    """A node with its attributes as plain Python values."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


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


def read_nodes(model: onnx.ModelProto) -> list[Node]:
    """Every node but the constants, in graph order.

    Raises:
        UnsupportedOperatorError: operators that the twin does not know, all of them listed.
    """
    _refuse_unknown(model.graph)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    readers: dict[str, list[onnx.NodeProto]] = {}
    constants = {tensor.name for tensor in model.graph.initializer} | {""}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
        if node.op_type in ("Constant", "DequantizeLinear"):
            constants.add(node.output[0])
    return [
        _node(
            node, opset, requantized=constants.issuperset(node.input[1:]) and _is_requantized(node.output[0], readers)
        )
        for node in model.graph.node
        if node.op_type != "Constant"
    ]


def _node(node: onnx.NodeProto, opset: int, *, requantized: bool) -> Node:
    attributes = _attributes(node)
    if node.op_type == "Split":
        attributes.setdefault("num_outputs", len(node.output))  # what it was before opset 18
    if node.op_type in ("Softmax", "LogSoftmax") and opset < 13:
        attributes.setdefault("axis", 1)
        attributes[FLATTENED] = True
    if node.op_type in ("Conv", "Gemm"):
        attributes[REQUANTIZED] = requantized
    return Node(node.op_type, tuple(node.input), tuple(node.output), attributes)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _is_requantized(name: str, readers: Mapping[str, Sequence[onnx.NodeProto]]) -> bool:
    """Whether one QuantizeLinear alone reads the value, through clamps at most."""
    while len(readers.get(name, ())) == 1:
        (reader,) = readers[name]
        if reader.op_type == "QuantizeLinear":
            return True
        if reader.op_type not in ("Relu", "Clip"):
            return False
        name = reader.output[0]
    return False


def _refuse_unknown(graph: onnx.GraphProto) -> None:
    unknown: dict[str, list[str]] = {}
    for node in graph.node:
        if what := _unknown(node):
            unknown.setdefault(what, []).append(node.name or node.output[0])
    if unknown:
        raise UnsupportedOperatorError(
            "the twin does not know all operators of this graph",
            expected=", ".join(sorted(OPERATORS)),
            got=", ".join(f"{op} ({', '.join(names[:3])})" for op, names in sorted(unknown.items())),
            fix="attack this graph with black-box attacks only",
        )


def _unknown(node: onnx.NodeProto) -> str:
    """What the twin does not know about a node, "" where it knows it."""
    label = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    ours = node.domain in ("", "ai.onnx") or (node.domain == "com.microsoft" and node.op_type in _FROM_MICROSOFT)
    if ours and node.op_type == "Constant":
        return ""
    if not ours or node.op_type not in OPERATORS:
        return label
    more = [name for name in node.output[1:] if name]
    if more and node.op_type not in SEVERAL:
        return f"{label} with {1 + len(more)} outputs"
    setting = unknown_setting(node.op_type, _attributes(node))
    return f"{label} with {setting}" if setting else ""


def read_constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Initializers and Constant nodes, by value name.

    Raises:
        ModelError: an element type that torch does not have.
    """
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    arrays |= {node.output[0]: _constant(node) for node in graph.node if node.op_type == "Constant"}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ModelError(
                f"the constant {name!r}", expected="floats, integers or booleans", got=f"element type {array.dtype}"
            )
    return arrays


def _constant(node: onnx.NodeProto) -> Array:
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.array(value, np.float32 if attribute.name.startswith("value_float") else None)


def free_batch(nodes: Sequence[Node], constants: dict[str, Array], batch: int) -> list[Node]:
    """Let a graph that was exported for `batch` images take any number: where images, or what was made of them, are
    reshaped to [batch, ...], the first dimension is copied instead.

    Returns:
        The nodes; the shapes that some of them now read are added to `constants`.
    """
    fixed, free = {*constants, ""}, []
    for node in nodes:
        if fixed.issuperset(node.inputs):
            fixed.update(node.outputs)
        elif node.op_type == "Reshape" and not node.attributes.get("allowzero", 0):
            name = node.inputs[1]
            shape = constants.get(name)
            if shape is not None and shape.size and shape[0] == batch:
                constants[f"{name} of any batch"] = np.concatenate([[0], shape[1:]]).astype(np.int64)
                node = node._replace(inputs=(node.inputs[0], f"{name} of any batch"))  # noqa: PLW2901
        free.append(node)
    return free


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
    """What DequantizeLinear reads, by name."""
    return {
        node.inputs[0]: Stored(
            node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else "", node.attributes.get("axis", 1)
        )
        for node in nodes
        if node.op_type == "DequantizeLinear"
    }
