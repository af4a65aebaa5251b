"""Pools in one form each.

ReduceMean over H and W          = GlobalAveragePool (and a Flatten behind it where keepdims = 0)
ReduceMax over H and W           = GlobalMaxPool = MaxPool over the whole image (a Flatten likewise)
a pool over one pixel            = x, which as a pool would be requantized
ceil_mode without an overhang    = the pool without it
a mean with ceil_mode            = one with more padding behind, which does not count; where padding counts it has none
"""

from __future__ import annotations

from typing import Literal

import onnx_ir as ir

from .node_pass import NodePass, RefusedError
from .values import attribute, channels, constant, replace_by_chain

__all__ = ["CanonicalPools"]

_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")

Form = Literal["mean", "maximum", "one pixel", "no overhang", "padding"]


class CanonicalPools(NodePass[Form]):
    """ReduceMean and ReduceMax over the two spatial axes of [N, C, H, W] become pools; pools over one pixel go."""

    def match(self, node: ir.Node) -> Form | None:
        """Which of the equations holds."""
        if node.op_type in ("ReduceMean", "ReduceMax"):
            _check_axes(node)
            return "mean" if node.op_type == "ReduceMean" else _maximum(node)
        x = node.inputs[0] if node.op_type in _POOLS else None
        return None if x is None else _pool(node, x)

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
            before = list(attribute(node, "pads", [0, 0, 0, 0]))
            if found == "padding":
                pads = [*before[:2], *(pad + more for pad, more in zip(before[2:], _overhang(node, x), strict=True))]
                for name, value in (("pads", pads), ("count_include_pad", 0)):
                    node.attributes[name] = ir.convenience.convert_attribute(name, value)
            del node.attributes["ceil_mode"]


def _pool(node: ir.Node, x: ir.Value) -> Form | None:
    if _is_identity(node, x):
        if node.outputs[0].is_graph_output():
            raise RefusedError("it is a pool over one pixel, but the caller reads it")
        return "one pixel"
    if node.op_type == "GlobalMaxPool":
        return _maximum(node)
    has_ceil_mode = node.op_type in ("AveragePool", "MaxPool") and attribute(node, "ceil_mode", 0)
    return _without_ceil_mode(node, x) if has_ceil_mode else None


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


def _without_ceil_mode(node: ir.Node, x: ir.Value) -> Form:
    """ "no overhang" or "padding", or the node is refused."""
    if not any(_overhang(node, x)):
        return "no overhang"
    padding_counts = any(attribute(node, "pads", [0])) and attribute(node, "count_include_pad", 0)
    if node.op_type == "MaxPool" or padding_counts:
        raise RefusedError("its last windows overhang (ceil_mode)")
    return "padding"


def _overhang(node: ir.Node, x: ir.Value) -> list[int]:
    """How far the last window reaches over the padded image, along H and W."""
    if x.shape is None or channels(x) is None:
        raise RefusedError("it is not on [N, C, H, W]")
    kernel, pads = attribute(node, "kernel_shape", []), attribute(node, "pads", [0, 0, 0, 0])
    strides, dilations = (attribute(node, key, [1, 1]) for key in ("strides", "dilations"))
    found = []
    for axis, size in enumerate(x.shape.dims[2:]):
        if not isinstance(size, int):
            raise RefusedError("the size of its images is not known")
        room = size + pads[axis] + pads[axis + 2] - (kernel[axis] - 1) * dilations[axis] - 1
        count = -(-room // strides[axis]) + 1
        if (count - 1) * strides[axis] >= size + pads[axis]:  # it would start behind the image
            count -= 1
        found.append(max((count - 1) * strides[axis] - room, 0))
    return found


def _is_identity(node: ir.Node, x: ir.Value) -> bool:
    if len(node.outputs) > 1 or channels(x) is None or x.shape is None:
        return False
    if node.op_type.startswith("Global"):
        return x.shape[2] == x.shape[3] == 1
    unmoved = all(step == 1 for step in attribute(node, "strides", [1]))
    unpadded = not any(attribute(node, "pads", [0]))
    return unmoved and unpadded and all(size == 1 for size in attribute(node, "kernel_shape", []))
