"""A per-channel affine map becomes a depthwise 1x1 convolution, which integer kernels know.

    y[n, c, h, w] = a[c] * x[n, c, h, w] + b[c]      (Mul, Div, Add, Sub with constants; BatchNormalization)

is Conv(x, W, b) with W of shape [C, 1, 1, 1], W[c] = a[c] and group = C. Where x is already the output of a
convolution, `MergeConvs` then makes one of the two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...runtime.shapes import Float64
from .node_pass import NodePass, RefusedError
from .values import add_initializer, attribute, channels, constant, replace_by_chain

__all__ = ["AffineToConv"]

Affine = tuple[Float64[npt.NDArray[np.float64], " c"], Float64[npt.NDArray[np.float64], " c"]]


class AffineToConv(NodePass[tuple[ir.Value, Affine]]):
    """Mul, Div, Add, Sub (with a per-channel constant) and BatchNormalization on [N, C, H, W] become Conv."""

    def match(self, node: ir.Node) -> tuple[ir.Value, Affine] | None:
        """(x, (a, b))."""
        if node.op_type == "BatchNormalization":
            return _batch_norm(node)
        return _arithmetic(node) if node.op_type in ("Mul", "Div", "Add", "Sub") else None

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: tuple[ir.Value, Affine]) -> None:
        x, (a, b) = found
        name = node.outputs[0].name or "affine"
        weight = add_initializer(graph, f"{name}.weight", a.astype(np.float32).reshape(-1, 1, 1, 1))
        bias = add_initializer(graph, f"{name}.bias", b.astype(np.float32))
        replace_by_chain(node, [depthwise(x, weight, bias)])


def depthwise(x: ir.Value, weight: ir.Value, bias: ir.Value | None) -> ir.Node:
    """A depthwise Conv node whose kernel is all of `weight`'s spatial extent, stride 1, no padding."""
    assert weight.const_value is not None
    size = list(weight.const_value.shape.numpy())
    inputs = [x, weight] if bias is None else [x, weight, bias]
    attributes: dict[str, int | list[int]] = {
        "group": size[0],
        "kernel_shape": size[2:],
        "pads": [0, 0, 0, 0],
        "strides": [1, 1],
        "dilations": [1, 1],
    }
    return ir.node("Conv", inputs, attributes)


def _arithmetic(node: ir.Node) -> tuple[ir.Value, Affine] | None:
    """(x, (a, b)) of one operator; None where it has no constant, or nothing else."""
    left, right = node.inputs
    constants = constant(left), constant(right)
    if (constants[0] is None) == (constants[1] is None):
        return None
    reversed_ = constants[1] is None
    x, number = (right, constants[0]) if reversed_ else (left, constants[1])
    width = channels(x)
    if x is None or width is None or number is None:
        raise RefusedError("it is not on [N, C, H, W]")
    c = _per_channel(number, width)
    one, zero = np.ones(width), np.zeros(width)
    if node.op_type in ("Mul", "Div"):
        if reversed_ and node.op_type == "Div":
            raise RefusedError("a constant divided by x is no affine map")
        return x, (c if node.op_type == "Mul" else 1 / c, zero)
    if node.op_type == "Add":
        return x, (one, c)
    return x, ((-one, c) if reversed_ else (one, -c))


def _per_channel(number: npt.NDArray[np.float32], width: int) -> Float64[npt.NDArray[np.float64], " c"]:
    shape = (1,) * (4 - number.ndim) + number.shape
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, width) or shape[2:] != (1, 1):
        raise RefusedError("its constant is not one number a channel")
    return np.array(np.broadcast_to(number.reshape(shape[1]), (width,)), np.float64)


def _batch_norm(node: ir.Node) -> tuple[ir.Value, Affine]:
    x = node.inputs[0]
    if x is None or channels(x) is None:
        raise RefusedError("it is not on [N, C, H, W]")
    parts = [constant(value) for value in node.inputs[1:5]]
    if any(part is None for part in parts) or attribute(node, "training_mode", 0):
        raise RefusedError("its statistics are computed")
    gamma, beta, mean, var = (np.asarray(part, np.float64) for part in parts)
    a = gamma / np.sqrt(var + float(attribute(node, "epsilon", 1e-5)))
    return x, (a, beta - mean * a)
