"""Where quantizers stand: the freedom that is left once the function is fixed, and the choice by measurement.

The bundle fixes the function: its accuracy, its robustness and its proofs are those of one graph. TensorRT still lets
some quantizers stand in two places where nothing else is computed:

| choice | one way | the other way |
| --- | --- | --- |
| `planes` | the first convolution on int8 planes of the pixels | on floats |
| `integer_logits` | the last linear layer on int8 | on floats, of the same values |
| `early_pools` | max pools behind the quantizer, on int8 | before it: convolution and pool may become one kernel |

Which is faster depends on GPU, version and shapes, so the device decides: starting from all int8, each choice is turned
round in its turn, the engine built and timed, and the faster kept. (NVIDIA's Autotune searches placements in the same
way, but also such as change the function.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import onnx_ir as ir

from ..passes.values import constant, only_consumer
from .constants import float_layer

__all__ = ["Placement", "fastest_placement", "place"]

_Built = TypeVar("_Built")

_LEAST_GAIN = 0.02
"""A placement is kept where it is faster by more than timings scatter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The choices of the table above; the default asks for as many int8 layers as there can be."""

    planes: bool = True
    integer_logits: bool = True
    early_pools: bool = True

    def __str__(self) -> str:
        return ", ".join(f"{'' if getattr(self, f.name) else 'no '}{f.name.replace('_', ' ')}" for f in fields(self))


def place(graph: ir.Graph, placement: Placement) -> None:
    """Carry out `integer_logits` and `early_pools`."""
    if not placement.integer_logits:
        for output in graph.outputs:
            producer = output.producer()
            if producer is not None:
                float_layer(graph, producer)
    if not placement.early_pools:
        for node in list(graph):
            if node.op_type == "MaxPool":
                _pool_before_rounding(graph, node)


def _pool_before_rounding(graph: ir.Graph, pool: ir.Node) -> None:
    """x -> Q -> DQ -> MaxPool -> Q becomes x -> MaxPool -> Q: rounding is monotone, so it commutes with a maximum."""
    value = pool.inputs[0]
    dequantize = value.producer() if value is not None else None
    if value is None or dequantize is None or dequantize.op_type != "DequantizeLinear":
        return
    quantized = dequantize.inputs[0]
    quantize = quantized.producer() if quantized is not None else None
    again = only_consumer(pool.outputs[0])
    if quantized is None or quantize is None or again is None or again.op_type != "QuantizeLinear":
        return
    if only_consumer(value) is not pool or only_consumer(quantized) is not dequantize:
        return
    if constant(quantize.inputs[1]) != constant(again.inputs[1]):
        return
    pool.replace_input_with(0, quantize.inputs[0])
    graph.remove([dequantize, quantize], safe=True)


def fastest_placement(
    build: Callable[[Placement], _Built], timer: Callable[[_Built], float], *, first: Placement | None = None
) -> tuple[Placement, _Built, dict[str, float]]:
    """Build and time placements on the device; keep the fastest.

    Args:
        build: makes an engine of a placement.
        timer: milliseconds that an engine takes for one batch.
        first: where to start.

    Returns:
        The placement, what `build` made of it, and the time of every placement that was tried, by its text.
    """
    best = first or Placement()
    built = build(best)
    least = timer(built)
    tried = {str(best): least}
    for choice in fields(Placement):
        other = replace(best, **{choice.name: not getattr(best, choice.name)})
        candidate = build(other)
        tried[str(other)] = timer(candidate)
        if tried[str(other)] < least * (1 - _LEAST_GAIN):
            best, built, least = other, candidate, tried[str(other)]
    return best, built, tried
