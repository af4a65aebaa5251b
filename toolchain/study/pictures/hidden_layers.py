"""The last layers of a network as values of its ONNX graph.

A layer is a Conv, Gemm or MatMul whose second input is constant. Its result is read behind what only follows it: the
bias, the activation, and of an integer graph the rounding, as real numbers behind DequantizeLinear.
"""

from __future__ import annotations

import onnx

__all__ = ["LAYERS", "last_layers"]

LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
_FOLLOW = frozenset({"Add", "Clip", "DequantizeLinear", "Gelu", "QuantizeLinear", "Relu"})


def last_layers(graph: onnx.GraphProto, count: int) -> dict[int, str]:
    """Names of the results of the last `count` layers, by the layer's number from 1 on, in the graph's order."""
    constant = {tensor.name for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    layers = []
    for node in graph.node:
        if all(name in constant for name in node.input if name):
            constant.update(node.output)  # a Constant, or the DequantizeLinear of stored integers
            continue
        for name in node.input:
            readers.setdefault(name, []).append(node)
        if node.op_type in LAYERS and node.input[1] in constant:
            layers.append(node.output[0])
    numbered = list(enumerate(layers, start=1))[-count:]
    return {number: _behind(name, readers, constant) for number, name in numbered}


def _behind(name: str, readers: dict[str, list[onnx.NodeProto]], constant: set[str]) -> str:
    while len(readers.get(name, ())) == 1:
        (reader,) = readers[name]
        others = [given for given in reader.input if given and given != name]
        if reader.op_type not in _FOLLOW or not constant.issuperset(others):
            break
        name = reader.output[0]
        if reader.op_type == "DequantizeLinear":
            break
    return name
