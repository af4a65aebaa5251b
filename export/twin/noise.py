"""What operators that draw random numbers draw from.

ONNX Runtime draws anew at every call, with a `seed` as without one: it seeds a generator once a session, and goes on.
So does the twin. Inside `drawn_from` the draws are those of a generator, and so can be repeated; elsewhere they are
torch's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from ...runtime.shapes import Float

__all__ = ["draw_normal", "draw_uniform", "drawn_from"]

_GENERATOR: ContextVar[torch.Generator | None] = ContextVar("generator", default=None)


@contextmanager
def drawn_from(generator: torch.Generator) -> Iterator[None]:
    """Random operators in here draw from `generator`."""
    token = _GENERATOR.set(generator)
    try:
        yield
    finally:
        _GENERATOR.reset(token)


def draw_uniform(shape: tuple[int, ...], device: torch.device) -> Float[Tensor, " ..."]:
    """Float32 numbers in [0, 1)."""
    generator = _GENERATOR.get()
    drawn = torch.rand(shape, generator=generator, device=device if generator is None else generator.device)
    return drawn.to(device)


def draw_normal(shape: tuple[int, ...], device: torch.device) -> Float[Tensor, " ..."]:
    """Float32 numbers of mean 0 and variance 1."""
    generator = _GENERATOR.get()
    drawn = torch.randn(shape, generator=generator, device=device if generator is None else generator.device)
    return drawn.to(device)
