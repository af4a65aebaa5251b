"""ONNX operator -> function of the twin. Signature: (attributes, *inputs) -> value; a missing optional input is None.

Operators that only move or compare numbers act on the integers of a `Scaled` value; the others on its real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .scaled import EXACT, Scaled, Value, dense
from .twin_integer import conv, dequantize, gemm, matmul, quantize, spatial
from .windows import Attributes, pad_window, window

__all__ = ["OPERATORS"]

Operator = Callable[..., Value]


def _on_integers(move: Callable[[Attributes, Tensor], Tensor]) -> Operator:
    """An operator that commutes with a positive scale: act on n, keep s (where s is one number)."""

    def operator(attributes: Attributes, x: Value, *rest: Any) -> Value:
        if isinstance(x, Scaled) and x.s.numel() == 1:
            return Scaled(move(attributes, x.n), x.s, x.bound)
        return move(attributes, dense(x))

    return operator


def _relu(attributes: Attributes, x: Value) -> Value:
    return Scaled(x.n.clamp(min=0), x.s, x.bound) if isinstance(x, Scaled) else x.clamp(min=0)


def _reshape(attributes: Attributes, x: Value, shape: Value) -> Value:
    sizes = [int(s) for s in dense(shape)]

    def move(_: Attributes, a: Tensor) -> Tensor:
        zero = not attributes.get("allowzero", 0)
        return a.reshape([a.shape[i] if s == 0 and zero else s for i, s in enumerate(sizes)])

    return _on_integers(move)(attributes, x)


def _flatten(attributes: Attributes, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(attributes.get("perm", list(range(x.dim()))[::-1]))


def _axes(axes: Value | None, attributes: Attributes) -> list[int] | None:
    if axes is not None:
        return [int(a) for a in dense(axes).reshape(-1)]
    return attributes.get("axes")


def _squeeze(attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
    where = _axes(axes, attributes)

    def move(_: Attributes, a: Tensor) -> Tensor:
        return a.squeeze() if where is None else a.squeeze(tuple(where))

    return _on_integers(move)(attributes, x)


def _unsqueeze(attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
    where = _axes(axes, attributes) or []

    def move(_: Attributes, a: Tensor) -> Tensor:
        for axis in sorted(w % (a.dim() + len(where)) for w in where):
            a = a.unsqueeze(axis)
        return a

    return _on_integers(move)(attributes, x)


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    settings = window(attributes, spatial(x))
    x, pads = pad_window(x, settings, -math.inf)
    ceil = bool(attributes.get("ceil_mode", 0))
    return F.max_pool2d(x, settings.kernel, settings.strides, pads, settings.dilations, ceil)


def _average_pool(attributes: Attributes, x: Value) -> Value:
    settings = window(attributes, spatial(x))
    include = bool(attributes.get("count_include_pad", 0))
    ceil = bool(attributes.get("ceil_mode", 0))
    a = x.n if isinstance(x, Scaled) else x
    a, pads = pad_window(a, settings, 0.0) if include else (a, (settings.pads[0], settings.pads[1]))
    count = settings.kernel[0] * settings.kernel[1]
    whole = include or not any(settings.pads)
    if isinstance(x, Scaled) and whole and not ceil:
        sums = F.avg_pool2d(a, settings.kernel, settings.strides, pads, divisor_override=1)
        return Scaled(sums, x.s / count, x.bound * count)
    if not include and (settings.pads[0], settings.pads[1]) != (settings.pads[2], settings.pads[3]):
        weight = F.pad(torch.ones_like(a), _torch_pads(settings.pads))
        sums = F.avg_pool2d(F.pad(a, _torch_pads(settings.pads)), settings.kernel, settings.strides, divisor_override=1)
        y = sums / F.avg_pool2d(weight, settings.kernel, settings.strides, divisor_override=1)
    else:
        y = F.avg_pool2d(a, settings.kernel, settings.strides, pads, ceil, include)
    return y * x.s if isinstance(x, Scaled) else y


def _torch_pads(pads: tuple[int, int, int, int]) -> list[int]:
    top, left, bottom, right = pads
    return [left, right, top, bottom]


def _global_average_pool(attributes: Attributes, x: Value) -> Value:
    if isinstance(x, Scaled):
        count = math.prod(spatial(x))
        return Scaled(x.n.sum((2, 3), keepdim=True), x.s / count, min(x.bound * count, EXACT))
    return x.mean((2, 3), keepdim=True)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def operator(attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
        where = _axes(axes, attributes)
        keep = bool(attributes.get("keepdims", 1))
        a = dense(x)
        if where is None and attributes.get("noop_with_empty_axes", 0):
            return a
        return function(a, tuple(where) if where is not None else tuple(range(a.dim())), keepdim=keep)

    return operator


def _concat(attributes: Attributes, *parts: Value) -> Value:
    axis = attributes["axis"]
    scaled = [p for p in parts if isinstance(p, Scaled) and p.s.numel() == 1]
    if len(scaled) == len(parts) and all(torch.equal(p.s, scaled[0].s) for p in scaled):
        return Scaled(torch.cat([p.n for p in scaled], axis), scaled[0].s, max(p.bound for p in scaled))
    return torch.cat([dense(p) for p in parts], axis)


def _clip(attributes: Attributes, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    smallest = attributes.get("min") if low is None else float(dense(low))
    largest = attributes.get("max") if high is None else float(dense(high))
    return dense(x).clamp(smallest, largest)


def _pad(
    attributes: Attributes, x: Value, pads: Value | None = None, value: Value | None = None, axes: Value | None = None
) -> Value:
    sizes = [int(p) for p in dense(pads)] if pads is not None else list(attributes["pads"])
    a = dense(x)
    where = list(range(a.dim())) if axes is None else [int(i) % a.dim() for i in dense(axes)]
    both = [(0, 0)] * a.dim()
    for position, axis in enumerate(where):
        both[axis] = (sizes[position], sizes[position + len(where)])
    flat = [size for pair in reversed(both) for size in pair]
    mode = attributes.get("mode", b"constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "constant":
        return F.pad(a, flat, value=0.0 if value is None else float(dense(value)))
    return F.pad(a, flat[: 2 * (a.dim() - 2)], mode={"edge": "replicate", "reflect": "reflect"}[mode])


def _slice(
    attributes: Attributes, x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None
) -> Value:
    where = range(len(dense(starts))) if axes is None else [int(a) for a in dense(axes)]
    strides = [1] * len(dense(starts)) if steps is None else [int(s) for s in dense(steps)]

    def move(_: Attributes, a: Tensor) -> Tensor:
        index = [slice(None)] * a.dim()
        for axis, start, end, step in zip(where, dense(starts), dense(ends), strides, strict=True):
            index[axis] = slice(int(start), int(end), step)
        return a[tuple(index)]

    return _on_integers(move)(attributes, x)


def _gather(attributes: Attributes, x: Value, indices: Value) -> Value:
    where, axis = dense(indices).long(), attributes.get("axis", 0)

    def move(_: Attributes, a: Tensor) -> Tensor:
        found = a.index_select(axis, where.reshape(-1) % a.shape[axis])
        return found.reshape(*a.shape[:axis], *where.shape, *a.shape[axis % a.dim() + 1 :])

    return _on_integers(move)(attributes, x)


_DTYPES = {1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def _cast(attributes: Attributes, x: Value) -> Value:
    kind = _DTYPES.get(attributes["to"], torch.float32)
    a = dense(x)
    # an integer that a gradient flows through stays integer-valued float
    return a.trunc() if a.is_floating_point() and a.requires_grad and kind != torch.float32 else a.to(kind)


def _batch_norm(attributes: Attributes, x: Value, *parameters: Value) -> Value:
    gamma, beta, mean, var = (dense(p) for p in parameters)
    return F.batch_norm(dense(x), mean, var, gamma, beta, False, 0.0, attributes.get("epsilon", 1e-5))


def _layer_norm(attributes: Attributes, x: Value, gamma: Value, beta: Value | None = None) -> Value:
    a = dense(x)
    shape = a.shape[attributes.get("axis", -1) % a.dim() :]
    return F.layer_norm(a, shape, dense(gamma), None if beta is None else dense(beta), attributes.get("epsilon", 1e-5))


def _hard_sigmoid(attributes: Attributes, x: Value) -> Value:
    return (dense(x) * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)).clamp(0, 1)


def _softmax(attributes: Attributes, x: Value) -> Value:
    return dense(x).softmax(attributes.get("axis", -1))


def _gelu(attributes: Attributes, x: Value) -> Value:
    mode = attributes.get("approximate", b"none")
    return F.gelu(dense(x), approximate=mode.decode() if isinstance(mode, bytes) else mode)


def _real(function: Callable[..., Tensor]) -> Operator:
    """An elementwise operator without attributes, on real numbers."""
    return lambda attributes, *inputs: function(*(dense(x) for x in inputs))


OPERATORS: dict[str, Operator] = {
    "Abs": _real(torch.abs),
    "Add": _real(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": conv,
    "DequantizeLinear": dequantize,
    "Div": _real(torch.div),
    "Dropout": lambda attributes, x, *rest: x,
    "Elu": lambda attributes, x: F.elu(dense(x), attributes.get("alpha", 1.0)),
    "Erf": _real(torch.erf),
    "Exp": _real(torch.exp),
    "Flatten": _on_integers(_flatten),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": gemm,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _on_integers(lambda attributes, x: x.amax((2, 3), keepdim=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _real(F.hardswish),
    "Identity": lambda attributes, x: x,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda attributes, x: F.leaky_relu(dense(x), attributes.get("alpha", 0.01)),
    "LogSoftmax": lambda attributes, x: dense(x).log_softmax(attributes.get("axis", -1)),
    "MatMul": matmul,
    "Max": _real(lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amax(0)),
    "MaxPool": _on_integers(_max_pool),
    "Min": _real(lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amin(0)),
    "Mul": _real(torch.mul),
    "Neg": _real(torch.neg),
    "PRelu": _real(lambda x, slope: torch.where(x >= 0, x, slope * x)),
    "Pad": _pad,
    "Pow": _real(torch.pow),
    "QuantizeLinear": quantize,
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _relu,
    "Reshape": _reshape,
    "Shape": lambda attributes, x: torch.tensor((x.n if isinstance(x, Scaled) else x).shape),
    "Sigmoid": _real(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Sqrt": _real(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _real(torch.sub),
    "Tanh": _real(torch.tanh),
    "Transpose": _on_integers(_transpose),
    "Unsqueeze": _unsqueeze,
}
