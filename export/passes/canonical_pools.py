"""Pools in one form each.

ReduceMean over H and W          = GlobalAveragePool (and a Flatten behind it where keepdims = 0)
ReduceMax over H and W           = GlobalMaxPool = MaxPool over the whole image (a Flatten likewise)
a pool over one pixel            = x, which as a pool would be requantized
ceil_mode without an overhang    = the pool without it
"""

from __future__ import annotations

from typing import Literal

import onnx_ir as ir

from .node_pass import NodePass, RefusedError
from .values import attribute, channels, constant, replace_by_chain

__all__ = ["CanonicalPools"]

_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")

Form = Literal["mean", "maximum", "one pixel", "no overhang"]


class CanonicalPools(NodePass[Form]):
    """ReduceMean and ReduceMax over the two spatial axes of [N, C, H, W] become pools; pools over one pixel go."""

    def match(self, node: ir.Node) -> Form | None:
        """Which of the four equations holds."""
        if node.op_type in ("ReduceMean", "ReduceMax"):
            _check_axes(node)
            return "mean" if node.op_type == "ReduceMean" else _maximum(node)
        x = node.inputs[0] if node.op_type in _POOLS else None
        if x is None:
            return None
        if _is_identity(node, x):
            if node.outputs[0].is_graph_output():
                raise RefusedError("it is a pool over one pixel, but the caller reads it")
            return "one pixel"
        if node.op_type == "GlobalMaxPool":
            return _maximum(node)
        if node.op_type in ("AveragePool", "MaxPool") and attribute(node, "ceil_mode", 0):
            _check_overhang(node, x)
            return "no overhang"
        return None

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Form) -> None:
        x = node.inputs[0]
        assert x is not None
        if found == "mean":
            _replace(node, x, ir.node("GlobalAveragePool", [x]))
        elif found == "maximum":
            _replace(node, x, ir.node("MaxPool", [x], {"kernel_shape": _sizes(x), "strides": [1, 1]}))
        elif found == "one pixel":
            node.outputs[0].replace_all_uses_with(x)
            graph.remove(node, safe=True)
        else:
            del node.attributes["ceil_mode"]


def _check_axes(node: ir.Node) -> None:
    x = node.inputs[0]
    if x is None or x.shape is None or channels(x) is None:
        raise RefusedError("it is not on [N, C, H, W]")
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "axes", None)
    if axes is None:
        raise RefusedError("its axes are computed, or all of them")
    if sorted(int(a) % 4 for a in axes) != [2, 3]:
        raise RefusedError("it is not over H and W")


def _maximum(node: ir.Node) -> Form:
    """ "maximum", or the node is refused."""
    x = node.inputs[0]
    if x is None or channels(x) is None:
        raise RefusedError("it is not on [N, C, H, W]")
    if not all(isinstance(size, int) for size in _sizes(x)):
        raise RefusedError("the size of its images is not known")
    return "maximum"


def _sizes(x: ir.Value) -> list[int]:
    """H and W, as far as they are known."""
    return list(x.shape.dims[2:]) if x.shape is not None else []  # type: ignore[arg-type]


def _replace(node: ir.Node, x: ir.Value, pool: ir.Node) -> None:
    """`pool` of `x` in the node's place, with a Flatten behind it where the node keeps no axes of size 1."""
    assert x.shape is not None
    pool.outputs[0].shape = ir.Shape([x.shape[0], x.shape[1], 1, 1])
    pool.outputs[0].type = x.type
    chain = [pool]
    if node.op_type.startswith("Reduce") and not attribute(node, "keepdims", 1):
        chain.append(ir.node("Flatten", [pool.outputs[0]], {"axis": 1}))
    replace_by_chain(node, chain)


def _check_overhang(node: ir.Node, x: ir.Value) -> None:
    """Every window of a pool with ceil_mode lies inside the padded image, or the node is refused."""
    if x.shape is None or channels(x) is None:
        raise RefusedError("it is not on [N, C, H, W]")
    kernel, pads = attribute(node, "kernel_shape", []), attribute(node, "pads", [0, 0, 0, 0])
    strides, dilations = (attribute(node, key, [1, 1]) for key in ("strides", "dilations"))
    for axis, size in enumerate(x.shape.dims[2:]):
        if not isinstance(size, int):
            raise RefusedError("the size of its images is not known")
        room = size + pads[axis] + pads[axis + 2] - (kernel[axis] - 1) * dilations[axis] - 1
        if room % strides[axis]:
            raise RefusedError("its last windows overhang (ceil_mode)")


def _is_identity(node: ir.Node, x: ir.Value) -> bool:
    if len(node.outputs) > 1 or channels(x) is None or x.shape is None:
        return False
    if node.op_type.startswith("Global"):
        return x.shape[2] == x.shape[3] == 1
    unmoved = all(step == 1 for step in attribute(node, "strides", [1]))
    unpadded = not any(attribute(node, "pads", [0]))
    return unmoved and unpadded and all(size == 1 for size in attribute(node, "kernel_shape", []))
