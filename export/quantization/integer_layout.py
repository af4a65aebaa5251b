"""What becomes of each node of one graph: integers where there is a kernel, float elsewhere.

The matrix (`operators/matrix.py`) says it of a node alone. Beside others:

* The nodes of a function of one tensor stay float together (`passes/elementwise.py`).
* A ReLU or Clip that alone reads a requantized result goes into that quantizer.
* What float operators make is quantized where an integer kernel reads it, by way of moves and clamps too. Between two
  float operators it stays float, and so do the moves there.
* What moves numbers stands on the integers themselves where the target has it so: OpenVINO runs every quantizer that
  stands around a move. One that a convolution or a MatMul reads stays between quantizers: OpenVINO makes these float
  otherwise.
* The scale of attention's scores is one that their integers are read with.
* For the target `tensorrt` a convolution that only an Add reads is not requantized: TensorRT makes convolution,
  residual sum and ReLU one kernel where just the shortcut is quantized ("Q/DQ Layer-Placement Recommendations", NVIDIA
  TensorRT documentation). Where both terms are such convolutions, the one at the end of the longer path stays
  unrounded. With power-of-two scales such a sum is a multiple of the finer scale, and exact in float32 below 2^24 of
  its steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ..passes.elementwise import CLAMPS, functions, variables
from ..passes.scale_behind_product import score_scale
from ..passes.values import only_consumer
from .operators.matrix import handling, obstacle
from .operators.moves import BARE
from .operators.normalizations import PROBABILITY_STEP
from .operators.row import QUANTIZED, Handling
from .scheme import Grid, Scheme

__all__ = ["FloatOperator", "Layout", "is_logits"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatOperator:
    """What stays float between integers.

    Attributes:
        operator: its type, "LayerNormalization"; of a function of several nodes all of them, "Sigmoid, Mul".
        result: the name of its result.
        reason: why, to be read behind the operator: "no integer kernel on ONNX Runtime".
    """

    operator: str
    result: str
    reason: str


class Layout:
    """The handling of every node of a graph.

    Args:
        graph: of uint8 pixels behind a DequantizeLinear, in topological order; element types are known.
        scheme: says the target.
    """

    def __init__(self, graph: ir.Graph, scheme: Scheme) -> None:
        self._engine, self._signed = scheme.made_for.engine, scheme.activations.signed
        self._exact = scheme.made_for.exact_here
        self._functions = functions(graph)
        self._nodes = [node for node in graph if node.op_type != "DequantizeLinear"]
        self._handling: dict[ir.Node, Handling] = {}
        for node in self._nodes:
            alone = node in self._functions or not _is_real(node.outputs[0])
            on_integers = score_scale(node) is not None or (scheme.made_for.bare_moves and _is_bare(node))
            kind: Handling = "stored" if on_integers else handling(node)
            self._handling[node] = "float" if alone else kind
        self.unrounded = _unrounded_terms(graph, scheme)
        self._rounded: set[ir.Node] = set()
        self._follow_neighbours()

    def __getitem__(self, node: ir.Node) -> Handling:
        return self._handling[node]

    def __contains__(self, node: ir.Node) -> bool:
        return node in self._handling

    def clamp_behind(self, node: ir.Node) -> ir.Node | None:
        """The Relu or Clip that alone reads `node`'s result and goes into its quantizer."""
        follower = only_consumer(node.outputs[0])
        merges = follower is not None and follower.op_type in CLAMPS and self._handling.get(follower) == "stored"
        return follower if merges and self._handling[node] == "requantized" else None

    def is_rounded(self, node: ir.Node) -> bool:
        """Whether the result of a node gets a grid of its own."""
        if self._handling[node] in QUANTIZED:
            return not is_logits(node) and node not in self.unrounded
        return node in self._rounded

    def quantized_values(self) -> list[ir.Value]:
        """The values that need a grid of their own."""
        return [(self.clamp_behind(node) or node).outputs[0] for node in self._nodes if self.is_rounded(node)]

    def known_grids(self) -> dict[str, Grid]:
        """Of probabilities, by name: their grid is that of the kernel, whatever the images."""
        if self._signed:
            return {}
        softmaxes = [node for node in self._nodes if node.op_type == "Softmax" and self.is_rounded(node)]
        return {node.outputs[0].name or "": Grid(PROBABILITY_STEP, 0) for node in softmaxes}

    def float_operators(self) -> tuple[FloatOperator, ...]:
        """What stays float, in graph order; a function of one tensor once."""
        found = []
        for nodes in self._islands():
            result, names = nodes[-1].outputs[0], [node.op_type for node in nodes]
            words = obstacle(nodes[0]) if len(nodes) == 1 else ""
            reason = f"no integer kernel on {self._engine}"
            if self._exact and self._handling[nodes[-1]] == "rounded":
                reason += "; every engine rounds its float operations alike"
            operator = ", ".join(dict.fromkeys(names)) + words
            found.append(FloatOperator(operator=operator, result=result.name or "", reason=reason))
        return tuple(found)

    def _islands(self) -> list[list[ir.Node]]:
        """The float nodes, those of one function together; moves are not counted."""
        islands: dict[ir.Node, list[ir.Node]] = {}
        for node in self._nodes:
            is_function = node in self._functions
            if not is_function and (self._handling[node] not in _FLOAT or handling(node) in _FOLLOWING):
                continue
            before = [value.producer() for value in variables(node)] if is_function else []
            island: list[ir.Node] = []
            for producer in before:
                if producer in self._functions and producer in islands and islands[producer] is not island:
                    island = [*island, *islands[producer]]
            island.append(node)
            islands.update(dict.fromkeys(island, island))
        found = {id(island): island for island in islands.values()}.values()
        return [island for island in found if _is_real(island[-1].outputs[0])]

    def _follow_neighbours(self) -> None:
        """Round float results that integers read; let moves of other float results be float."""
        wanted: set[ir.Value] = set()
        for node in reversed(self._nodes):
            kind = self._handling[node]
            passes_on = kind in _FOLLOWING and any(value in wanted for value in node.outputs)
            if kind in QUANTIZED or passes_on:
                wanted |= set(_data(node))
        for node in self._nodes:
            if self._handling[node] == "float" and _is_real(node.outputs[0]) and wanted.intersection(node.outputs):
                self._rounded.add(node)
            if self._handling[node] in _FOLLOWING and not wanted.intersection(node.outputs):
                (moved,) = _data(node) or (None,)
                producer = None if moved is None else moved.producer()
                is_float = self._handling.get(producer) == "float" and producer not in self._rounded  # type: ignore[arg-type]
                if is_float or moved is None:
                    self._handling[node] = "float"


_FOLLOWING = ("moved", "stored")
_FLOAT = ("float", "rounded")


def _is_bare(node: ir.Node) -> bool:
    """Whether `node` moves numbers, and none of those reads them before which OpenVINO wants a quantizer."""
    readers = {reader.op_type for reader, _ in node.outputs[0].uses()}
    return node.op_type in BARE and readers.isdisjoint(("Conv", "MatMul"))


def is_logits(node: ir.Node) -> bool:
    """Whether `node` is a last linear layer, whose int32 sums are given as float."""
    return node.op_type == "Gemm" and node.outputs[0].is_graph_output()


def _data(node: ir.Node) -> list[ir.Value]:
    """The inputs that hold numbers of images, not sizes or weights."""
    read = variables(node)
    first_alone = node.op_type in ("Conv", "Gemm") or handling(node) in (*_FOLLOWING, "rounded")
    return [value for value in read if value is node.inputs[0]] if first_alone else read


def _is_real(value: ir.Value) -> bool:
    return value.dtype in (None, ir.DataType.FLOAT)


def _unrounded_terms(graph: ir.Graph, scheme: Scheme) -> set[ir.Node]:
    """The convolutions whose result goes into a sum without a quantizer between, one a sum at most."""
    if not scheme.made_for.unrounded_terms:
        return set()
    depth: dict[ir.Value, int] = {}
    found: set[ir.Node] = set()
    for node in graph:
        behind = 1 + max((depth.get(value, 0) for value in node.inputs if value is not None), default=0)
        depth.update(dict.fromkeys(node.outputs, behind))
        if node.op_type == "Add":
            terms = [v for v in node.inputs if v is not None and _is_conv(v.producer()) and only_consumer(v) is node]
            longest = max(terms, key=lambda value: depth[value], default=None)
            producer = None if longest is None else longest.producer()
            found |= set() if producer is None else {producer}
    return found


def _is_conv(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Conv"
