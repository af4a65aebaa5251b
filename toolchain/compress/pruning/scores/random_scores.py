"""Random scores, the baseline of every criterion: uniform in [0, 1), from the seed, the step and the layer's name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ...context import Context

__all__ = ["random_scores"]


def random_scores(module: nn.Module, layers: Iterable[str], context: Context) -> dict[str, Tensor]:
    """A score for each weight, float64 in the weight's shape; the same for every device and order of layers."""
    scores = {}
    for name in layers:
        digest = hashlib.sha256(f"{context.training.seed}/{context.stage('random')}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        weight = module.get_submodule(name).get_parameter("weight")
        drawn = torch.rand(weight.shape, generator=generator, dtype=torch.float64)
        scores[name] = drawn.to(weight.device)
    return scores
