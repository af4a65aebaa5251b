"""Two convolutions, one of them a depthwise 1x1 (a per-channel affine map), become one.

    after:   a * (W x + b) + c          =  (a W) x + (a b + c)
    before:  W (a x + c) + b            =  (W a) x + (b + sum over the inputs of W c)

The second needs c = 0 or no padding: padding adds zeros after the affine map, not before it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .node_pass import NodePass, RefusedError
from .values import add_initializer, attribute, constant, only_consumer, replace_by_chain

__all__ = ["MergeConvs"]

_Array = npt.NDArray[np.float64]


class Merge(NamedTuple):
    """The convolution before the matched one, whose settings stay, and the weight and bias of the two as one."""

    first: ir.Node
    keep: ir.Node
    weights: tuple[_Array, _Array]


class MergeConvs(NodePass[Merge]):
    """Folds depthwise 1x1 convolutions into the convolution before or behind them."""

    one_a_sweep = True  # what a pair became may merge with its neighbours

    def match(self, node: ir.Node) -> Merge | None:
        """How `node` merges with the convolution before it."""
        x = node.inputs[0] if node.op_type == "Conv" else None
        first = x.producer() if x is not None else None
        if first is None or first.op_type != "Conv":
            return None
        one, two = _weights(first), _weights(node)
        is_behind, is_before = _is_affine(node, two[0]), _is_affine(first, one[0])
        if not is_behind and not is_before:
            return None
        if only_consumer(first.outputs[0]) is not node:
            raise RefusedError("the convolution before it is read elsewhere too")
        if is_behind:
            return Merge(first, first, _affine_behind(one, two))
        if _is_padded(node) and one[1].any():
            raise RefusedError("an offset cannot move behind its padding")
        return Merge(first, node, _affine_before(one, two, groups=attribute(node, "group", 1)))

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Merge) -> None:
        _replace(graph, found.first, node, keep=found.keep, weights=found.weights)


def _weights(node: ir.Node) -> tuple[_Array, _Array]:
    """Weight and bias (zeros where there is none)."""
    weight = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = constant(node.inputs[2]) if has_bias else None
    if weight is None or weight.ndim != 4 or (has_bias and bias is None):
        raise RefusedError("weights are computed, or not those of images")
    return weight.astype(np.float64), np.zeros(len(weight)) if bias is None else bias.astype(np.float64)


def _is_affine(node: ir.Node, weight: _Array) -> bool:
    unmoved = all(step == 1 for step in attribute(node, "strides", [1]))
    return weight.shape[1:] == (1, 1, 1) and attribute(node, "group", 1) == len(weight) and unmoved and not _pads(node)


def _pads(node: ir.Node) -> bool:
    return any(attribute(node, "pads", [0]))


def _is_padded(node: ir.Node) -> bool:
    return _pads(node) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")


def _affine_behind(one: tuple[_Array, _Array], two: tuple[_Array, _Array]) -> tuple[_Array, _Array]:
    (weight, bias), (factor, offset) = one, two
    a = factor.reshape(-1)
    return weight * a[:, None, None, None], a * bias + offset


def _affine_before(one: tuple[_Array, _Array], two: tuple[_Array, _Array], *, groups: int) -> tuple[_Array, _Array]:
    (factor, offset), (weight, bias) = one, two
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    a, c = factor.reshape(groups, -1), offset.reshape(groups, -1)
    scaled = (blocks * a[:, None, :, None, None]).reshape(weight.shape)
    return scaled, bias + np.einsum("goihw,gi->go", blocks, c).reshape(-1)


def _replace(
    graph: ir.Graph, first: ir.Node, second: ir.Node, *, keep: ir.Node, weights: tuple[_Array, _Array]
) -> None:
    """`first` -> `second` becomes one convolution with the settings of `keep`."""
    assert keep.inputs[1] is not None
    name = keep.inputs[1].name or "weight"
    w = add_initializer(graph, name, weights[0].astype(np.float32))
    b = add_initializer(graph, name.removesuffix("weight") + "bias", weights[1].astype(np.float32))
    merged = ir.node("Conv", [first.inputs[0], w, b], {key: a.value for key, a in keep.attributes.items()})
    replace_by_chain(second, [merged])
    graph.remove(first, safe=True)
