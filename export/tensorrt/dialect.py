"""The bundle's graph in the words of TensorRT's parser: the same function, operator by operator.

| bundle | TensorRT | why equal |
| --- | --- | --- |
| Q -> Clip on int8 -> DQ | Clip (or Relu) -> Q -> DQ | rounding is monotone and leaves the grid's points alone |
| Q -> (DQ and) Pad, GatherND or Clip on int8 -> DQ | Q -> DQ -> Pad, ... -> Q -> DQ | the grid's numbers stay on it |
| bias: int32 -> DQ | float constant | see `constants.py` |
| weight: int8 -> DQ | before 10: float -> Q -> DQ | see `constants.py` |
| pixels: uint8 -> DQ | uint8 -> Cast -> three int8 planes, or -> Mul | see `pixels.py` |
| max pool behind a quantizer | before it, where asked for | see `placement.py` |
| Split into equal parts (opset 18) | Split with sizes (opset 17) | the parts are the same |

Sources: `QuantDequantLinearHelper` and `convMultiInput` in the parser (onnx/onnx-tensorrt, branch 8.5-GA): zero points
are zeros, uint8 is no quantized type, a bias is a float.

Every node gets a name of its own, by which the engine's inspector calls it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from ...runtime.errors import ModelError, UnsupportedOperatorError
from ..passes.values import add_initializer, attribute, constant, only_consumer, replace_by_chain
from .constants import float_biases, quantize_float_weights
from .pixel_planes import CastPixels
from .tuning import Placement, place
from .versions import OPSET, Capabilities

__all__ = ["tensorrt_graph"]

_STORED = ("Clip", "GatherND", "Pad")
"""Operators that may stand between quantizers, on integers."""

_IR_VERSION = 8
_DOMAINS = ("", "ai.onnx")


def tensorrt_graph(
    model: onnx.ModelProto, capabilities: Capabilities, *, placement: Placement | None = None
) -> onnx.ModelProto:
    """The graph that TensorRT parses.

    Args:
        model: a bundle's graph: uint8 pixels [N, C, H, W] -> logits [N, K]; Q/DQ with int8 activations, or float.
        capabilities: of the version that parses it.
        placement: where quantizers stand; as many int8 layers as there can be, if not given.

    Raises:
        ModelError: quantized with zero points or uint8, as the graphs for the CPU are.
        UnsupportedOperatorError: an operator that opset 17 does not have in this form.
    """
    graph_model = ir.from_proto(model)
    graph = graph_model.graph
    placement = placement or Placement()
    CastPixels(planes=placement.planes)(graph_model)
    for node in list(graph):
        if node.op_type == "Clip":
            _clip_before_rounding(graph, node)
        if node.op_type in _STORED and node.graph is not None:
            _on_real_numbers(graph, node)
        elif node.op_type == "Split":
            _split_by_sizes(graph, node)
    float_biases(graph)
    place(graph, placement)
    if capabilities.float_weights:
        quantize_float_weights(graph)
    passes.RemoveUnusedNodesPass()(graph_model)
    passes.TopologicalSortPass()(graph_model)
    _refuse_asymmetric(graph)
    _lower_opset(graph_model)
    _name_nodes(graph)
    proto = ir.to_proto(graph_model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _clip_before_rounding(graph: ir.Graph, clip: ir.Node) -> None:
    """Q -> Clip(lowest, highest) becomes Clip(s * lowest, s * highest) -> Q."""
    quantize = clip.inputs[0].producer() if clip.inputs[0] is not None else None
    if quantize is None or quantize.op_type != "QuantizeLinear" or only_consumer(quantize.outputs[0]) is not clip:
        return
    scale, zero = (constant(value) for value in quantize.inputs[1:3])
    assert scale is not None
    assert zero is not None
    kind = np.iinfo(zero.dtype)
    ends = [constant(value) for value in clip.inputs[1:]]
    low, high = (None if end is None or int(end) == edge else (int(end) - int(zero)) * float(scale)
                 for end, edge in zip((*ends, None, None)[:2], (kind.min, kind.max), strict=False))  # fmt: skip
    x = quantize.inputs[0]
    assert x is not None
    if low == 0 and high is None:
        clamp = ir.node("Relu", [x])
    else:
        bounds = [
            None if end is None else add_initializer(graph, "clip_bound", np.array(end, np.float32))
            for end in (low, high)
        ]
        clamp = ir.node("Clip", [x, *bounds])
    clamp.outputs[0].type, clamp.outputs[0].shape = x.type, x.shape
    graph.insert_before(quantize, clamp)
    quantize.replace_input_with(0, clamp.outputs[0])
    clip.outputs[0].replace_all_uses_with(quantize.outputs[0])
    graph.remove(clip, safe=True)


def _on_real_numbers(graph: ir.Graph, node: ir.Node) -> None:
    """int8 -> node -> int8 becomes int8 -> DQ -> node -> Q -> int8; a constant behind the first input becomes real."""
    x, y = node.inputs[0], node.outputs[0]
    reader = next((reader for reader, _ in y.uses() if reader.op_type == "DequantizeLinear"), None)
    if x is None or reader is None or x.dtype != ir.DataType.INT8:
        return
    scale = constant(reader.inputs[1])
    assert scale is not None
    dequantize = ir.node("DequantizeLinear", [x, *reader.inputs[1:]])
    inputs: list[ir.Value | None] = [dequantize.outputs[0]]
    for given in node.inputs[1:]:
        value, number = given, constant(given)
        if number is not None and number.dtype == np.int8:
            value = add_initializer(graph, f"{y.name}_real", np.asarray(number * scale, np.float32))
        inputs.append(value)
    made = ir.node(node.op_type, inputs, {name: a.value for name, a in node.attributes.items()})
    quantize = ir.node("QuantizeLinear", [made.outputs[0], *reader.inputs[1:]])
    for new, like in ((dequantize, x), (made, y), (quantize, y)):
        kind = ir.DataType.INT8 if new is quantize else ir.DataType.FLOAT
        new.outputs[0].type, new.outputs[0].shape = ir.TensorType(kind), like.shape
    replace_by_chain(node, [dequantize, made, quantize])


def _split_by_sizes(graph: ir.Graph, node: ir.Node) -> None:
    parts = attribute(node, "num_outputs", None)
    if parts is None:
        return
    x = node.inputs[0]
    size = x.shape[attribute(node, "axis", 0)] if x is not None and x.shape is not None else None
    if not isinstance(size, int):
        raise UnsupportedOperatorError(
            f"Split {node.outputs[0].name!r}", expected="a fixed size along its axis", got=str(size)
        )
    part = -(-size // parts)
    sizes = [min(part, size - part * index) for index in range(parts)]
    del node.attributes["num_outputs"]
    split = add_initializer(graph, "split_sizes", np.array(sizes, np.int64))
    replaced = ir.node("Split", [x, split], {"axis": attribute(node, "axis", 0)}, num_outputs=parts)
    for old, new in zip(node.outputs, replaced.outputs, strict=True):
        new.name, new.type, new.shape = old.name, old.type, old.shape
        old.replace_all_uses_with(new)
    graph.insert_before(node, replaced)
    graph.remove(node, safe=True)


def _refuse_asymmetric(graph: ir.Graph) -> None:
    for node in graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if zero is None or zero.dtype != np.int8 or zero.any():
            raise ModelError(
                f"{node.op_type} {node.outputs[0].name!r}: TensorRT cannot take its quantization",
                expected="int8 with zero point 0",
                got="no zero point" if zero is None else f"{zero.dtype} with zero point {int(zero.reshape(-1)[0])}",
                fix="build with --target tensorrt",
            )


def _lower_opset(model: ir.Model) -> None:
    """Call the graph one of opset 17, where every operator of it means the same there."""
    opset = model.graph.opset_imports.get("", OPSET)
    if opset <= OPSET:
        return
    changed = sorted(
        {node.op_type for node in model.graph if node.op_type != "Split" and _since(node, opset) != _since(node, OPSET)}
    )
    if changed:
        raise UnsupportedOperatorError(
            "operators that TensorRT 8.5 parses in another form only",
            expected=f"operators as in opset {OPSET}",
            got=f"{', '.join(changed)} of opset {opset}",
            fix=f"export the model with opset {OPSET}",
        )
    model.graph.opset_imports[""] = OPSET
    model.ir_version = min(model.ir_version, _IR_VERSION)


def _since(node: ir.Node, opset: int) -> int | str:
    """The opset that last changed the operator; the domain's name for operators that are not ONNX's own."""
    if node.domain not in _DOMAINS:
        return node.domain
    try:
        return int(onnx.defs.get_schema(node.op_type, opset).since_version)
    except onnx.defs.SchemaError:
        return f"not in opset {opset}"


def _name_nodes(graph: ir.Graph) -> None:
    taken: set[str] = set()
    for node in graph:
        for name in _names(node):
            if name not in taken:
                taken.add(name)
                node.name = name
                break


def _names(node: ir.Node) -> Iterator[str]:
    """A convolution's or linear layer's name is its weight's, without what layer names are joined by."""
    label = node.outputs[0].name or "value"
    weight = node.inputs[1] if node.op_type in ("Conv", "Gemm") else None
    if weight is not None:
        label = re.sub(r"[._]weight.*$", "", weight.name or label)
    label = re.sub(r"[^\w./-]+", "_", label).replace("...", "_")
    yield f"{node.op_type}:{label}"
    number = 1
    while True:
        yield f"{node.op_type}:{label}:{number}"
        number += 1
