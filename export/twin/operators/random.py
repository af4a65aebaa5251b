"""The twin's operators that draw random numbers: a new draw at every call, as in ONNX Runtime (`noise.py`).

Signature as in `supported.py`: (attributes, *inputs) -> value; a missing optional input is None.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..noise import draw_normal, draw_uniform
from ..surrogates import has_path, through
from ..values.scaled import Value, dense
from ..windows import Attributes
from .real import DTYPES, Operator

__all__ = ["NOISE", "bernoulli", "normal", "random", "random_like", "uniform"]

NOISE = frozenset({"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})
"""What makes a graph random."""

_FLOATS = (torch.float16, torch.float32, torch.float64)

Draw = Callable[[Attributes, tuple[int, ...], torch.device], Tensor]


def normal(attributes: Attributes, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """mean + scale * N(0, 1)."""
    return draw_normal(shape, device) * float(attributes.get("scale", 1.0)) + float(attributes.get("mean", 0.0))


def uniform(attributes: Attributes, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Between `low` and `high`."""
    low, high = float(attributes.get("low", 0.0)), float(attributes.get("high", 1.0))
    return draw_uniform(shape, device) * (high - low) + low


def random(draw: Draw) -> Operator:
    """RandomNormal, RandomUniform: the shape is an attribute."""

    def operator(attributes: Attributes) -> Value:
        drawn = draw(attributes, tuple(attributes["shape"]), torch.device("cpu"))
        return drawn.to(DTYPES[attributes.get("dtype", 1)])

    return operator


def random_like(draw: Draw) -> Operator:
    """RandomNormalLike, RandomUniformLike: shape and, without `dtype`, type are the input's."""

    def operator(attributes: Attributes, x: Value) -> Value:
        a = dense(x)
        kind = DTYPES[attributes["dtype"]] if "dtype" in attributes else a.dtype
        return draw(attributes, tuple(a.shape), a.device).to(kind)

    return operator


def bernoulli(attributes: Attributes, x: Value) -> Value:
    """1 with probability 1 - x, else 0, whose derivative is that of the probability.

    ONNX's text says x; its function body, which ONNX Runtime runs, is RandomUniformLike > x.
    """
    p = dense(x)
    drawn = draw_uniform(tuple(p.shape), p.device) > p.detach()
    if has_path(p):
        return through(1 - p, drawn.to(p.dtype))
    return drawn.to(DTYPES[attributes["dtype"]] if "dtype" in attributes else p.dtype)
