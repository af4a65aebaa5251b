"""The order in which the twin computes: node for node, or with its integer layers in 8-bit kernels.

    q -> DequantizeLinear -> Conv -> QuantizeLinear -> q'      becomes one layer on bytes (`onednn.py`)
    q -> DequantizeLinear -> MaxPool -> QuantizeLinear -> q'   with one scale throughout becomes MaxPool on bytes

and so for Gemm, for Add with power-of-two scales, and for what only moves numbers. Both plans give the same bits. The
second one is for weights that stand still: it reads them once, when it is made. What it does not know stays as it was,
node for node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...runtime.shapes import Shaped
from ..integer_types import INT8, UINT8
from .int8.onednn import ByteConv, ByteGemm, rescaling, trusted
from .nodes import Node
from .operators.integer import in_units
from .operators.supported import OPERATORS
from .values.levels import ByteLayer, Levels, accumulated, added, byte_levels, layer_levels
from .values.scaled import EXACT, Scaled, Value, dense
from .windows import text, window

__all__ = ["Plan", "Step", "byte_plan", "node_plan"]

_MOVES = frozenset({"Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_GEMM = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}  # by default
_PLAIN_GEMM = _GEMM | {"transB": 1}


class Step(NamedTuple):
    """`operator(*inputs)` gives the outputs; the names are the graph's, "" for an input that is not given.

    `label` is what a message calls the node.
    """

    operator: Callable[..., Value | tuple[Value, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    label: str


class Plan(NamedTuple):
    """Steps in order, how often each value is read, and the values known beforehand."""

    steps: Sequence[Step]
    readers: Mapping[str, int]
    known: Mapping[str, Value]


def node_plan(nodes: Iterable[Node]) -> Plan:
    """Node for node; constants are asked for when they are needed, since they may be in training."""
    return _plan([_step(node) for node in nodes], {})


def byte_plan(nodes: Sequence[Node], constants: Mapping[str, Shaped[Tensor, " ..."]], output: str) -> Plan:
    """With layers on bytes.

    Args:
        nodes: in graph order.
        constants: all of them, as the nodes read them.
        output: name of the logits.
    """
    known: dict[str, Value] = dict(constants)
    for node in nodes:
        if node.op_type == "DequantizeLinear" and all(name in known for name in node.inputs if name):
            value = _step(node).operator(*(known[name] if name else None for name in node.inputs))
            assert not isinstance(value, tuple)
            known[node.outputs[0]] = value
    left = [node for node in nodes if node.outputs[0] not in known]
    graph = _Graph(left, known, output)
    steps = {node.outputs[0]: _step(node) for node in left}
    # first what takes several nodes, then what is left of them
    for operators, replacement in ((("QuantizeLinear",), graph.requantized), (("Conv", "Gemm"), graph.accumulated)):
        for node in left:
            if node.op_type in operators and node.outputs[0] in steps and (step := replacement(node)):
                steps[node.outputs[0]] = step
        steps = _needed(steps, {output, *(node.outputs[0] for node in left if node.op_type == "QuantizeLinear")})
    return _plan([*steps.values()], known)


def _step(node: Node) -> Step:
    return Step(partial(OPERATORS[node.op_type], node.attributes), node.inputs, node.outputs, node.label)


def _plan(steps: Sequence[Step], known: Mapping[str, Value]) -> Plan:
    readers: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            readers[name] = readers.get(name, 0) + 1
    return Plan(steps, readers, known)


def _needed(steps: Mapping[str, Step], wanted: set[str]) -> dict[str, Step]:
    needed = []
    for name, step in reversed(list(steps.items())):
        if wanted.intersection(step.outputs):
            needed.append((name, step))
            wanted.update(step.inputs)
    return dict(reversed(needed))


class _Grid(NamedTuple):
    """A uint8 q stands for scale * (q - zero)."""

    scale: Tensor
    zero: float


class _Graph:
    """Finds what can be replaced; the rules are those of the module."""

    def __init__(self, nodes: Sequence[Node], known: Mapping[str, Value], output: str) -> None:
        self._known, self._output = known, output
        self._writer = {name: node for node in nodes for name in node.outputs}
        self._readers = node_plan(nodes).readers

    def requantized(self, node: Node) -> Step | None:
        """A QuantizeLinear with all that makes its input from bytes."""
        target, before = self._grid(node), self._only(node.inputs[0])
        if target is None or before is None:
            return None
        if before.op_type == "Relu" and target.zero == 0:  # the clamp does it too
            before = self._only(before.inputs[0])
        if before is not None and before.op_type in ("Conv", "Gemm"):
            return self._layer(before, target, node)
        if before is not None and before.op_type == "Add":
            return self._sum(before, target, node)
        source = self._writer.get(before.inputs[0]) if before is not None and before.op_type in _MOVES else None
        if before is None or source is None or self._grid(source) != target:
            return None
        return Step(_step(before).operator, (source.inputs[0], *before.inputs[1:]), node.outputs, before.label)

    def accumulated(self, node: Node) -> Step | None:
        """A Conv or Gemm of bytes."""
        return self._layer(node, None, node)

    def _only(self, name: str) -> Node | None:
        """Who writes a value that is read once."""
        return self._writer.get(name) if self._readers[name] == 1 and name != self._output else None

    def _grid(self, node: Node) -> _Grid | None:
        """What a DequantizeLinear reads, or a QuantizeLinear writes; None for other nodes and other integers."""
        if node.op_type not in ("DequantizeLinear", "QuantizeLinear") or len(node.inputs) < 3:
            return None
        scale, zero = (self._known.get(name) for name in node.inputs[1:])
        if not isinstance(scale, Tensor) or not isinstance(zero, Tensor) or zero.dtype != torch.uint8:
            return None
        return _Grid(scale.reshape(()), float(zero)) if zero.numel() == scale.numel() == 1 else None

    def _sum(self, node: Node, target: _Grid, last: Node) -> Step | None:
        sources = [self._writer.get(name) for name in node.inputs]
        grids = [self._grid(s) for s in sources if s is not None and s.op_type == "DequantizeLinear"]
        found = [grid for grid in grids if grid is not None]
        if len(found) < 2:
            return None
        first, second = (float(grid.scale / target.scale) for grid in found)
        exact = UINT8.high * (first + second) + target.zero < EXACT * min(first, second, 1)  # no partial sum rounds
        if not exact or math.frexp(first)[0] != 0.5 or math.frexp(second)[0] != 0.5:
            return None
        offset = target.zero - (first * found[0].zero + second * found[1].zero)
        operator = partial(_added, (first, second), offset)
        inputs = tuple(source.inputs[0] for source in sources if source is not None)
        return Step(operator, inputs, last.outputs, node.label)

    def _layer(self, node: Node, target: _Grid | None, last: Node) -> Step | None:
        source, weight = self._writer.get(node.inputs[0]), self._known.get(node.inputs[1])
        grid = None if source is None or source.op_type == "QuantizeLinear" else self._grid(source)
        biases = [self._known.get(name) for name in node.inputs[2:] if name]
        if source is None or grid is None or not all(isinstance(constant, Scaled) for constant in (weight, *biases)):
            return None
        assert isinstance(weight, Scaled)
        rows = weight.s.numel() in (1, weight.s.shape[:1].numel())
        in_bytes = weight.n.min() >= INT8.low and weight.n.max() <= INT8.high
        if weight.n.dim() not in (2, 4) or not in_bytes or not rows:
            return None
        scale = (grid.scale * weight.s.reshape(-1)).expand(len(weight.n))
        bias, _ = in_units(biases[0] if biases else None, scale)
        rescaled = rescaling(
            weight.n,
            torch.zeros(len(weight.n)) if bias is None else bias,
            bound=max(UINT8.high - grid.zero, grid.zero),
            factor=None if target is None else scale / target.scale,
            zero=0.0 if target is None else target.zero,
        )
        if rescaled is None or rescaled.requantized != (target is not None):
            return None
        layer: ByteLayer
        if node.op_type == "Conv":
            settings = window(node.attributes, (0, 0), (weight.n.shape[2], weight.n.shape[3]))
            if not trusted(settings) or text(node.attributes, "auto_pad", "NOTSET") != "NOTSET":
                return None
            layer = ByteConv(weight.n, int(grid.zero), settings, int(node.attributes.get("group", 1)), rescaled)
        elif {name: node.attributes.get(name, value) for name, value in _GEMM.items()} != _PLAIN_GEMM:
            return None
        else:
            layer = ByteGemm(weight.n, int(grid.zero), rescaled)
        shape = (1, -1, 1, 1) if node.op_type == "Conv" else (1, -1)
        operator = partial(_requantized, layer) if target else partial(_accumulated, layer, scale.reshape(shape))
        return Step(operator, source.inputs[:1], last.outputs, node.label)


def _levels(x: Value) -> Levels:
    return x if isinstance(x, Levels) else byte_levels(dense(x))


def _requantized(layer: ByteLayer, x: Value) -> Levels:
    return layer_levels(layer, _levels(x))


def _added(factors: tuple[float, float], offset: float, a: Value, b: Value) -> Levels:
    return added(_levels(a), _levels(b), factors, offset)


def _accumulated(layer: ByteLayer, scale: Tensor, x: Value) -> Scaled:
    return Scaled(accumulated(layer, _levels(x)), scale, EXACT)
