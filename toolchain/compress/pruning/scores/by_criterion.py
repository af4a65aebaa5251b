"""From a recipe's criterion to the scores of weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ....recipe.filter_pruning import FilterPruning
from ....recipe.weight_pruning import WeightPruning
from ...context import Context
from .hydra import hydra
from .lamp import lamp
from .magnitude import l1, l2
from .random_scores import random_scores
from .taylor import taylor

__all__ = ["weight_scores"]


def weight_scores(
    module: nn.Module, sparsities: Mapping[str, float], settings: FilterPruning | WeightPruning, context: Context
) -> dict[str, Tensor]:
    """What each weight is worth, by the settings' criterion: float64 >= 0 in the weight's shape, by layer.

    Where the criterion looks at training images and the context has none, which is a rehearsal, magnitude stands in.

    Args:
        module: the network; hydra moves the statistics of its norms, nothing else changes.
        sparsities: the share that goes, by name of layer: a convolution or linear layer.
        settings: criterion and what it needs.
        context: images, adversary and seed.
    """
    layers = list(sparsities)
    if settings.criterion == "l2":
        return l2(module, layers)
    if settings.criterion == "random":
        return random_scores(module, layers, context)
    if settings.criterion == "lamp":
        return lamp(module, layers)
    if settings.criterion == "taylor" and context.train is not None:
        return taylor(module, layers, context, images=settings.score_images)
    if isinstance(settings, WeightPruning) and settings.criterion == "hydra" and context.train is not None:
        epochs, learning_rate = settings.score_epochs, settings.score_learning_rate
        return hydra(module, sparsities, context, epochs=epochs, learning_rate=learning_rate)
    return l1(module, layers)
