"""Nodes that are one affine map a channel, or a feature.

y[n, c, h, w] = a[c] * x[n, c, h, w] + b[c]        y[n, f] = a[f] * x[n, f] + b[f]

Mul, Div, Add, Sub with constants; BatchNormalization: a = gamma / sqrt(var + epsilon), b = beta - mean * a
(Ioffe and Szegedy 2015, algorithm 2)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...runtime.shapes import Float64
from .node_pass import RefusedError
from .scale_behind_product import score_scale
from .values import attribute, constant

__all__ = ["Affine", "affine_map"]

Affine = tuple[Float64[npt.NDArray[np.float64], " c"], Float64[npt.NDArray[np.float64], " c"]]
"""(a, b)."""

_FORMS = {4: "[N, C, H, W]", 2: "[N, features]"}


def affine_map(node: ir.Node, *, rank: int) -> tuple[ir.Value, Affine] | None:
    """(x, (a, b)) of `node`; None where it is another operator, of two variables, or the scale of attention's scores.

    Args:
        node: any.
        rank: 4 for x of shape [N, C, H, W], 2 for [N, features].

    Raises:
        RefusedError: x has another rank, or the node is no affine map of each channel.
    """
    if node.op_type == "BatchNormalization":
        return _batch_norm(node, rank)
    if node.op_type not in ("Mul", "Div", "Add", "Sub") or score_scale(node) is not None:
        return None
    return _arithmetic(node, rank)


def _width(x: ir.Value, rank: int) -> int:
    if x.dtype not in (None, ir.DataType.FLOAT):
        raise RefusedError("it is not on float32")
    width = None if x.shape is None or len(x.shape) != rank else x.shape[1]
    if not isinstance(width, int):
        raise RefusedError(f"it is not on {_FORMS[rank]}")
    return width


def _arithmetic(node: ir.Node, rank: int) -> tuple[ir.Value, Affine] | None:
    """(x, (a, b)) of one operator; None where it has no constant, or nothing else."""
    left, right = node.inputs
    constants = constant(left), constant(right)
    if (constants[0] is None) == (constants[1] is None):
        return None
    reversed_ = constants[1] is None
    x, number = (right, constants[0]) if reversed_ else (left, constants[1])
    if x is None or number is None:
        return None
    width = _width(x, rank)
    c = _per_channel(number, width, rank)
    one, zero = np.ones(width), np.zeros(width)
    if node.op_type in ("Mul", "Div"):
        if reversed_ and node.op_type == "Div":
            raise RefusedError("a constant divided by x is no affine map")
        return x, (c if node.op_type == "Mul" else 1 / c, zero)
    if node.op_type == "Add":
        return x, (one, c)
    return x, ((-one, c) if reversed_ else (one, -c))


def _per_channel(number: npt.NDArray[np.float32], width: int, rank: int) -> Float64[npt.NDArray[np.float64], " c"]:
    shape = (1,) * (rank - number.ndim) + number.shape
    if len(shape) != rank or shape[0] != 1 or shape[1] not in (1, width) or set(shape[2:]) - {1}:
        raise RefusedError(f"its constant is not one number a {'channel' if rank == 4 else 'feature'}")
    return np.array(np.broadcast_to(number.reshape(shape[1]), (width,)), np.float64)


def _batch_norm(node: ir.Node, rank: int) -> tuple[ir.Value, Affine] | None:
    x = node.inputs[0]
    if x is None:
        return None
    _width(x, rank)
    parts = [constant(value) for value in node.inputs[1:5]]
    if any(part is None for part in parts) or attribute(node, "training_mode", 0):
        raise RefusedError("its statistics are computed")
    gamma, beta, mean, var = (np.asarray(part, np.float64) for part in parts)
    a = gamma / np.sqrt(var + float(attribute(node, "epsilon", 1e-5)))
    return x, (a, beta - mean * a)
