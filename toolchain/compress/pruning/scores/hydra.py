"""HYDRA: scores that are learned under the loss of adversarial training, with the weights as they are.

    min over s of   E max l( f( w * [|s| among the largest (1 - sparsity) of its layer] ) )

Sehwag et al. 2020 (arXiv:2002.10509), eq. 3. A score starts at sqrt(6 / fan-in) w / max |w| (their section 3.2), so the
start is magnitude pruning; the gradient passes the choice of the largest as if it were not there (Ramanujan et al.
2020). Weights, biases and the scales of norms do not move; the norms' running statistics do, and are those of the
pruned network from then on: under the dense network's it would start at chance.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ....recipe.adversary import Adversary
from ....recipe.training import FineTuning
from ....train.finetune import finetune
from ...context import Context

__all__ = ["hydra"]


def hydra(
    module: nn.Module, sparsities: Mapping[str, float], context: Context, *, epochs: int, learning_rate: float
) -> dict[str, Tensor]:
    """|s| of every weight, float64 in the weight's shape; of the module only buffers change, norms' statistics.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits [N, K].
        sparsities: the share of weights that goes, by layer.
        context: its training images, adversary and held-out images, by which the epoch is chosen.
        epochs, learning_rate: of the scores.
    """
    assert context.train is not None
    searched = copy.deepcopy(module).requires_grad_(False)
    for name, sparsity in sparsities.items():
        layer = searched.get_submodule(name)
        weight = layer.get_parameter("weight").detach()
        parametrize.register_parametrization(layer, "weight", _Scored(weight, sparsity))
    settings = FineTuning(
        epochs=epochs,
        learning_rate=learning_rate,
        schedule="cosine",
        momentum=0.9,
        batch_size=context.finetune.batch_size,
        precision=context.finetune.precision,
    )
    finetune(
        searched,
        context.train,
        context.heldout,
        settings,
        stage=context.stage("hydra"),
        context=context.training,
        adversary=None if context.adversary is None else _without_perturbed_weights(context.adversary),
    )
    found = dict(searched.named_buffers())
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            buffer.copy_(found[name])
    return {name: _scored(searched.get_submodule(name)).scores.detach().double().abs() for name in sparsities}


class _Scored(nn.Module):
    """The parametrization w -> w where its score is among the largest of the layer, else 0."""

    def __init__(self, weight: Tensor, sparsity: float) -> None:
        super().__init__()
        fan_in = weight[0].numel()
        scale = math.sqrt(6 / fan_in) / weight.abs().max().clamp(min=torch.finfo(weight.dtype).tiny)
        self.scores = nn.Parameter(weight * scale)
        self.kept = weight.numel() - round(sparsity * weight.numel())

    def forward(self, weight: Tensor) -> Tensor:
        kept: Tensor = _Largest.apply(self.scores, self.kept)  # type: ignore[no-untyped-call]
        return weight * kept


class _Largest(torch.autograd.Function):
    """1 for the largest magnitudes, else 0; the gradient passes."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, kept: int) -> Tensor:
        order = scores.abs().flatten().argsort(descending=True, stable=True)
        chosen = torch.zeros(scores.numel(), dtype=scores.dtype, device=scores.device)
        chosen[order[:kept]] = 1
        return chosen.view(scores.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _scored(layer: nn.Module) -> _Scored:
    (found,) = layer.parametrizations["weight"]  # type: ignore[index]
    assert isinstance(found, _Scored)
    return found


def _without_perturbed_weights(adversary: Adversary) -> Adversary:
    """Plain adversarial training: perturbed scores would choose other weights, not nearby ones."""
    return Adversary(**adversary.plain.model_dump(exclude={"weight_perturbation"}))
