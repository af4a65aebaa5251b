"""Logits [N, K, 1, 1], as a last convolution gives them, come as [N, K].

Flatten(axis=1)(x)      for x of shape [N, K, 1, 1]
"""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["LogitsRow"]


class LogitsRow(ir.passes.InPlacePass):
    """A Flatten behind the graph's first output, where that has axes of size 1 behind [N, K]."""

    def requires(self, model: ir.Model) -> None:
        if not model.graph.outputs:
            raise ir.passes.PreconditionError("no output")

    def ensures(self, model: ir.Model) -> None:
        if _is_pixel(model.graph.outputs[0]):
            raise ir.passes.PostconditionError(f"the output is {model.graph.outputs[0].shape}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        logits = model.graph.outputs[0]
        producer = logits.producer()
        if producer is None or logits.shape is None or not _is_pixel(logits):
            return ir.passes.PassResult(model, False)
        flatten = ir.node("Flatten", [logits], {"axis": 1})
        row = flatten.outputs[0]
        row.shape, row.type = ir.Shape(logits.shape.dims[:2]), logits.type
        model.graph.insert_after(producer, flatten)
        model.graph.outputs[0] = row
        row.name, logits.name = logits.name, f"{logits.name}.map"
        return ir.passes.PassResult(model, True)


def _is_pixel(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) > 2 and all(size == 1 for size in value.shape.dims[2:])
