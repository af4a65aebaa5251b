"""Pruning of single weights: those of least score become zeros, in tensors that keep their shape.

    layer     W_sorted[i] = 0 for i < round(r |W(l)|), in each layer l         algorithm 2
    global    the same over the weights of all layers together                 algorithm 1
    N:M       of every M neighbouring inputs of a filter the N of largest score stay

Deep compression with adversarial robustness via decision boundary smoothing, section 2.1; N:M after Mishra et al. 2021
(arXiv:2104.08378). Nothing becomes faster by it on the engines here: the gain is in the file, where a bundle stores
the zeros packed. Budgets are met to the weight; ties go by position, lowest first.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ....runtime.errors import CompressionError
from ...recipe.weight_pruning import WeightPruning
from ..account import row
from ..compressed import Compressed, StepReport
from ..context import Context
from ..cost import LayerCost, costs, weighted_kinds
from ..layer_names import by_layer, named
from ..smallest import smallest
from .rounds import in_rounds
from .scores.by_criterion import weight_scores

__all__ = ["prune_weights"]

_OTHERS = "weights of convolutions and linear layers are pruned, no others"


def prune_weights(module: nn.Module, settings: WeightPruning, context: Context) -> Compressed:
    """Set the weights of least score to zero.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits [N, K]; left as it is.
        settings: `sparsity` of every convolution and linear layer, or of their weights together; `per_layer` and `keep`
            as in `prune_filters`, and layers of `per_layer` are always ranked by themselves.
        context: images, adversary and training, for criteria and rounds that need them.

    Returns:
        The network with its zeros, `checks["zeros"]` of `checks["weights"]`.

    Raises:
        CompressionError: a setting names no layer, a layer would be emptied, or there is nothing to prune.
    """
    nonzero = {
        name: layer.get_parameter("weight").detach() != 0
        for name, layer in module.named_modules()
        if isinstance(layer, (_ConvNd, nn.Linear))
    }

    def once(given: nn.Module, share: WeightPruning) -> Compressed:
        return _prune(given, share, context, nonzero)

    return in_rounds(module, settings, context, once)


def _prune(module: nn.Module, settings: WeightPruning, context: Context, nonzero: Mapping[str, Tensor]) -> Compressed:
    """One round: to the settings' sparsity of all weights, those that earlier rounds took among them.

    Args:
        nonzero: by layer, which weights were not zero before the first round.
    """
    pruned = copy.deepcopy(module)
    before = costs(pruned, input_shape=context.input_shape)
    reasons = _left_alone(pruned, before, settings)
    names = [name for name, why in reasons.items() if not why]
    if not names:
        first = next((f"{name}: {why}" for name, why in reasons.items() if why), "no convolution or linear layer")
        raise CompressionError("no weight of this network can be pruned", got=first, fix="compress = []")
    own = by_layer(settings.per_layer, names)
    sparsities = {name: own.get(name, settings.sparsity) for name in names}
    scores = weight_scores(pruned, sparsities, settings, context)
    for name, score in scores.items():
        gone = nonzero[name] & (pruned.get_submodule(name).get_parameter("weight") == 0)
        score[gone] = -1  # below every score: what went stays gone
    pooled = [name for name in names if name not in own] if settings.scope == "global" else []
    if settings.pattern:
        masks = {name: _pattern(scores[name], settings) for name in names}
    else:
        masks = {}
        for together in [pooled, *([name] for name in names if name not in pooled)]:
            masks |= _smallest({name: scores[name] for name in together}, sparsities)
    _refuse_emptied(masks, sparsities, rehearsed=context.train is None and settings.scope == "global")
    with torch.no_grad():
        for name, mask in masks.items():
            pruned.get_submodule(name).get_parameter("weight")[mask] = 0
    zeros = {name: int(mask.sum()) for name, mask in masks.items()}
    for name in names:
        if not zeros[name]:
            reasons[name] = f"sparsity {sparsities[name]:g} of {masks[name].numel()} weights rounds to none"
    checks = {"zeros": float(sum(zeros.values())), "weights": float(sum(mask.numel() for mask in masks.values()))}
    return Compressed(
        module=pruned,
        layers=tuple(row(name, cost, before, reason=reasons.get(name, _OTHERS)) for name, cost in before.items()),
        steps=(StepReport(method=settings.method, settings=settings.account, checks=checks),),
    )


def _left_alone(module: nn.Module, found: Mapping[str, LayerCost], settings: WeightPruning) -> dict[str, str]:
    """Of each convolution and linear layer why it stays as it is; "" if it is pruned."""
    kinds = weighted_kinds(found)
    keep = named(settings.keep, kinds, "keep")
    reasons = dict.fromkeys(kinds, "")
    for name in kinds:
        layer = module.get_submodule(name)
        if name in keep:
            reasons[name] = "kept as asked"
        elif settings.pattern:
            _, of = settings.kept_of
            inputs = layer.get_parameter("weight").shape[1]
            if isinstance(layer, _ConvTransposeNd):
                reasons[name] = "a transposed convolution sums over its outputs, so N:M is not defined"
            elif inputs % of:
                reasons[name] = f"its filters read {inputs} channels, no multiple of {of}"
    return reasons


def _smallest(scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
    """Of layers that are ranked together, and have one sparsity: True for the round(sparsity * n) smallest scores."""
    if not scores:
        return {}
    count = round(sparsities[next(iter(scores))] * sum(score.numel() for score in scores.values()))
    return dict(zip(scores, smallest(list(scores.values()), count), strict=True))


def _pattern(scores: Tensor, settings: WeightPruning) -> Tensor:
    """True for the M - N smallest of every M neighbours along the input axis."""
    kept, of = settings.kept_of
    last = scores.movedim(1, -1)
    blocks = last.reshape(-1, of)
    mask = torch.zeros_like(blocks, dtype=torch.bool)
    mask.scatter_(1, blocks.argsort(dim=1, stable=True)[:, : of - kept], value=True)
    return mask.reshape(last.shape).movedim(-1, 1)


def _refuse_emptied(masks: Mapping[str, Tensor], sparsities: Mapping[str, float], *, rehearsed: bool) -> None:
    """Raise where no weight of a layer is left. Over all layers an untrained network would empty others."""
    empty = [name for name, mask in masks.items() if mask.all()]
    if empty and not rehearsed:
        raise CompressionError(
            f"sparsity {sparsities[empty[0]]:g} would leave no weight of {empty[0]!r}",
            expected="at least one weight left of each layer",
            got=f"{masks[empty[0]].numel()} of {masks[empty[0]].numel()} weights to remove",
            fix=f"a lower sparsity, per_layer={{{empty[0]!r}: 0.5}} or keep=[{empty[0]!r}]",
        )
