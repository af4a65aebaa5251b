"""Two convolutions, one of them a depthwise 1x1 (a per-channel affine map), become one.

    after:   a * (W x + b) + c          =  (a W) x + (a b + c)
    before:  W (a x + c) + b            =  (W a) x + (b + sum over the inputs of W c)

The second needs c = 0 or no padding: padding adds zeros after the affine map, not before it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .values import add_initializer, attribute, constant, only_consumer

__all__ = ["MergeConvs"]


class MergeConvs(ir.passes.InPlacePass):
    """Folds depthwise 1x1 convolutions into the convolution before or behind them."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        again = True
        while again:
            again = any(_merge(model.graph, node) for node in list(model.graph) if node.op_type == "Conv")
            modified |= again
        return ir.passes.PassResult(model, modified)


def _weights(node: ir.Node) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim != 4:
        return None
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if bias is None and len(node.inputs) > 2 and node.inputs[2] is not None:
        return None
    return weight.astype(np.float64), np.zeros(len(weight)) if bias is None else bias.astype(np.float64)


def _is_affine(node: ir.Node, weight: npt.NDArray[np.float64]) -> bool:
    plain = all(not p for p in attribute(node, "pads", [0])) and all(s == 1 for s in attribute(node, "strides", [1]))
    return weight.shape[1:] == (1, 1, 1) and attribute(node, "group", 1) == len(weight) and plain


def _merge(graph: ir.Graph, second: ir.Node) -> bool:
    """Merge `second` with the convolution before it; True where it was done."""
    x = second.inputs[0]
    first = x.producer() if x is not None else None
    if first is None or first.op_type != "Conv" or only_consumer(first.outputs[0]) is not second:
        return False
    one, two = _weights(first), _weights(second)
    if one is None or two is None:
        return False
    (w1, b1), (w2, b2) = one, two
    if _is_affine(second, w2):
        a = w2.reshape(-1)
        return _replace(graph, first, second, keep=first, weight=w1 * a[:, None, None, None], bias=a * b1 + b2)
    padded = any(attribute(second, "pads", [0])) or attribute(second, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if _is_affine(first, w1) and (not padded or not b1.any()):
        groups = attribute(second, "group", 1)
        a, c = (v.reshape(groups, -1) for v in (w1.reshape(-1), b1))
        blocks = w2.reshape(groups, -1, *w2.shape[1:])
        weight = (blocks * a[:, None, :, None, None]).reshape(w2.shape)
        bias = b2 + np.einsum("goihw,gi->go", blocks, c).reshape(-1)
        return _replace(graph, first, second, keep=second, weight=weight, bias=bias)
    return False


def _replace(
    graph: ir.Graph,
    first: ir.Node,
    second: ir.Node,
    *,
    keep: ir.Node,
    weight: npt.NDArray[np.float64],
    bias: npt.NDArray[np.float64],
) -> bool:
    assert keep.inputs[1] is not None
    name = keep.inputs[1].name or "weight"
    w = add_initializer(graph, name, weight.astype(np.float32))
    b = add_initializer(graph, name.removesuffix("weight") + "bias", bias.astype(np.float32))
    merged = ir.node("Conv", [first.inputs[0], w, b], {key: a.value for key, a in keep.attributes.items()})
    old, new = second.outputs[0], merged.outputs[0]
    new.shape, new.type, label = old.shape, old.type, old.name
    graph.insert_before(second, merged)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove([second, first], safe=True)
    new.name = label
    return True
