"""Which scales of a Q/DQ graph may be multiplied by powers of two, and which only together.

    s <- s 2^k

With whole k every multiplier s_x s_w / s_y stays a power of two, so twin, graph and engine stay one function. What else
the graph holds must not depend on s:

* A weight's scales move each by itself, channel by channel. Its bias has s_x s_w, and moves with both.
* Values that an operator gives on the grid that it reads (moves, max pools), and the terms of a residual sum with their
  sum, move together: their ratios stay, so a term never becomes finer than its sum, and nothing is rounded there.
  Averages and concatenations are held to the same.
* All others are held: pixels, constants, functions of one tensor (whose entries stay away from ties at the scales that
  they have), Softmax, LayerNormalization and products (whose numbers hold the scales), clamps at another number than 0,
  and whatever is not known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod

import onnx

__all__ = ["MovableScales", "movable_scales"]

_INTEGER_MOVES = frozenset(
    {
        *("Clip", "Expand", "Flatten", "Gather", "GatherND", "Identity", "MaxPool", "Pad"),
        *("Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)
"""What may stand on the integers themselves, or between quantizers of one grid."""

_ALL_INPUTS = frozenset(("Add", "Concat"))
_TOGETHER = _INTEGER_MOVES - {"Clip"} | _ALL_INPUTS | {"AveragePool", "GlobalAveragePool"}
_LAYERS = ("Conv", "Gemm")
_QUANTIZERS = ("DequantizeLinear", "QuantizeLinear")


@dataclass(frozen=True, kw_only=True, slots=True)
class MovableScales:
    """The scales of one graph, by initializer name.

    Attributes:
        together: of activations; those of one group move by the same power of two.
        weights: of weights, with their number of channels.
        biases: of biases, with the scales of what the layer reads and of its weights.
        held: how many scales of activations stay.
    """

    together: tuple[tuple[str, ...], ...]
    weights: Mapping[str, int]
    biases: Mapping[str, tuple[str, str]]
    held: int


def movable_scales(model: onnx.ModelProto, held: Collection[str] = ()) -> MovableScales:
    """Find them.

    Args:
        model: Q/DQ graph with power-of-two scales.
        held: scales that integers in the graph depend on.
    """
    return _Search(model.graph, held).found()


class _Search:
    def __init__(self, graph: onnx.GraphProto, held: Collection[str]) -> None:
        self._nodes = list(graph.node)
        self._sizes = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._inputs = {value.name for value in graph.input}
        self._writer = {name: node for node in self._nodes for name in node.output}
        self._readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self._nodes:
            for index, name in enumerate(node.input):
                self._readers.setdefault(name, []).append((node, index))
        self._parent: dict[str, str] = {}
        self._held = set(held)
        self._weights: dict[str, int] = {}
        self._biases: dict[str, tuple[str, str]] = {}

    def found(self) -> MovableScales:
        quantizers = [node for node in self._nodes if node.op_type == "QuantizeLinear"]
        dequantizers = [node for node in self._nodes if node.op_type == "DequantizeLinear"]
        for node in quantizers:
            self._follow_integers(node)
        for node in dequantizers:
            if node.input[0] not in self._sizes:
                self._follow_numbers(node)
        for node in self._nodes:
            if node.op_type in _LAYERS:
                self._layer(node)
            elif node.op_type in _TOGETHER:
                self._join(node)
        for node in quantizers:
            source = self._writer.get(node.input[0])
            if source is None or source.op_type not in {*_LAYERS, *_TOGETHER}:
                self._held.add(node.input[1])
        for name in (*self._parent, *self._weights, *self._biases):
            if any(node.op_type not in _QUANTIZERS or index != 1 for node, index in self._readers.get(name, ())):
                self._held.update((name, *self._biases.get(name, ())))  # something else computes with the scale
        groups: dict[str, list[str]] = {}
        for name in self._parent:
            groups.setdefault(self._root(name), []).append(name)
        still = {self._root(name) for name in self._held if name in self._parent}
        moving = [tuple(names) for root, names in groups.items() if root not in still]
        weights = {name: channels for name, channels in self._weights.items() if name not in self._held}
        return MovableScales(
            together=tuple(moving),
            weights=weights,
            biases=self._biases,
            held=sum(len(names) for root, names in groups.items() if root in still),
        )

    def _follow_integers(self, quantizer: onnx.NodeProto) -> None:
        """Whoever reads the integers gives them back with the same scale, or is a move."""
        scale, left = quantizer.input[1], [quantizer.output[0]]
        self._root(scale)
        while left:
            name = left.pop()
            if name in self._outputs:
                self._held.add(scale)
            for reader, index in self._readers.get(name, ()):
                if reader.op_type == "DequantizeLinear" and index == 0:
                    self._unite([scale, reader.input[1]])
                elif reader.op_type in _INTEGER_MOVES and index == 0:
                    left += reader.output
                else:
                    self._held.add(scale)

    def _follow_numbers(self, dequantizer: onnx.NodeProto) -> None:
        """Whoever reads the numbers is known."""
        number, scale = dequantizer.output[0], dequantizer.input[1]
        self._root(scale)
        known = all(
            (reader.op_type in _LAYERS and index == 0)
            or (reader.op_type in _TOGETHER and (index == 0 or reader.op_type in _ALL_INPUTS))
            for reader, index in self._readers.get(number, ())
        )
        if not known or number in self._outputs or dequantizer.input[0] in self._inputs:
            self._held.add(scale)

    def _layer(self, node: onnx.NodeProto) -> None:
        """The scales of a convolution or linear layer between integers; of another they are held."""
        read, weight, bias = (self._scale(name) for name in (*node.input[:3], "", "")[:3])
        stored = [self._writer.get(name) for name in node.input[1:] if name]
        constant = all(dq is not None and dq.input[0] in self._sizes for dq in stored)
        if read is None or weight is None or not constant or (len(stored) > 1 and bias is None) or not self._ends(node):
            self._held.update(name for name in (read, weight, bias) if name)
            return
        self._weights[weight] = self._sizes.get(weight, 1)
        if bias is not None and self._biases.setdefault(bias, (read, weight)) != (read, weight):
            self._held.update((read, weight, *self._biases[bias]))

    def _join(self, node: onnx.NodeProto) -> None:
        """Let what an operator reads and gives move together."""
        numbers = list(node.input if node.op_type in _ALL_INPUTS else node.input[:1])
        if any(self._is_integer(name) for name in numbers):
            return  # a move of the integers themselves
        scales = [self._scale(name) for name in numbers]
        given = [reader.input[1] for name in node.output for reader, _ in self._readers.get(name, ())]
        known = [name for name in scales if name is not None]
        united = [*known, *(given if self._ends(node) else [])]
        self._unite(united)
        computed = all(name not in self._sizes for name in self._stored(numbers))
        if len(known) < len(scales) or not self._ends(node) or not computed:
            self._held.update(united)

    def _ends(self, node: onnx.NodeProto) -> bool:
        """Whether nothing but quantizers reads the results, or they are the graph's."""
        readers = [reader for name in node.output for reader, _ in self._readers.get(name, ())]
        if self._outputs.intersection(node.output):
            return not readers and node.op_type in _LAYERS
        return all(reader.op_type == "QuantizeLinear" for reader in readers)

    def _scale(self, name: str) -> str | None:
        writer = self._writer.get(name)
        return writer.input[1] if writer is not None and writer.op_type == "DequantizeLinear" else None

    def _stored(self, numbers: Iterable[str]) -> list[str]:
        writers = [self._writer[name] for name in numbers if self._scale(name) is not None]
        return [writer.input[0] for writer in writers]

    def _is_integer(self, name: str) -> bool:
        """Whether a value is the integers behind a quantizer."""
        writer = self._writer.get(name)
        while writer is not None and writer.op_type in _INTEGER_MOVES:
            writer = self._writer.get(writer.input[0])
        return writer is not None and writer.op_type == "QuantizeLinear"

    def _root(self, name: str) -> str:
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def _unite(self, names: list[str]) -> None:
        for name in names[1:]:
            self._parent[self._root(name)] = self._root(names[0])
