"""The twin's operators that make tensors from sizes, and sizes from tensors: all of them integers, as ONNX counts."""

from __future__ import annotations

import math

import torch
from onnx import numpy_helper

from ..values.scaled import Scaled, Value, dense
from ..windows import Attributes
from .shape import integers

__all__ = ["constant_of_shape", "range_", "shape", "size"]


def shape(attributes: Attributes, x: Value) -> Value:
    """Shape, from dimension `start` to `end`."""
    a = x.n if isinstance(x, Scaled) else dense(x)
    sizes = torch.tensor(a.shape, device=a.device)
    return sizes[attributes.get("start", 0) : attributes.get("end")]


def size(attributes: Attributes, x: Value) -> Value:
    """Size: how many elements."""
    a = x.n if isinstance(x, Scaled) else dense(x)
    return torch.tensor(math.prod(a.shape), device=a.device)


def constant_of_shape(attributes: Attributes, sizes: Value) -> Value:
    """ConstantOfShape: float32 zeros if no value is given."""
    value = attributes.get("value")
    one = torch.zeros(()) if value is None else torch.from_numpy(numpy_helper.to_array(value).reshape(()).copy())
    return one.to(dense(sizes).device).expand(integers(sizes)).clone()


def range_(attributes: Attributes, start: Value, limit: Value, delta: Value) -> Value:
    """Range: start + i delta for max(ceil((limit - start) / delta), 0) i's."""
    first, last, step = (dense(value).reshape(()) for value in (start, limit, delta))
    count = max(math.ceil((last.item() - first.item()) / step.item()), 0)
    return first + torch.arange(count, device=first.device).to(first.dtype) * step
