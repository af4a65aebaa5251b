"""Length in a threat model's norm, and in its dual.

A linear function of gradient w changes by at most ||w||_q ||delta||_p, 1/p + 1/q = 1 (Hoelder), and some delta reaches
that. So the hyperplane on which f vanishes is |f| / ||w||_q away.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....runtime.shapes import Float
from .threat_model import Norm

__all__ = ["dual_length", "length"]

_ORDER: dict[Norm, float] = {"linf": math.inf, "l2": 2, "l1": 1}
_DUAL: dict[Norm, float] = {"linf": 1, "l2": 2, "l1": math.inf}


def length(moves: Float[Tensor, " *points d"], norm: Norm) -> Float[Tensor, " *points"]:
    """||moves||_p over the last dimension."""
    found: Tensor = torch.linalg.vector_norm(moves, _ORDER[norm], dim=-1)
    return found


def dual_length(gradients: Float[Tensor, " *points d"], norm: Norm) -> Float[Tensor, " *points"]:
    """||gradients||_q over the last dimension, q dual to the norm."""
    found: Tensor = torch.linalg.vector_norm(gradients, _DUAL[norm], dim=-1)
    return found
