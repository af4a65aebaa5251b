"""Which units go: those of the least score, such as the l1-norm of their filters (Li et al. 2017).

    s_j = sum of the scores of filter j's weights,    of l1: ||F_j||_1 = sum_i ||F_ij||_1

over the filter's input channels i and its kernel. A unit of several filters (a residual add, a grouped convolution) has
the sum of their scores. Depthwise filters and linear layers that follow a convolution have no vote. Over all layers at
once a sum would never choose a wide filter or a unit of many filters, so there s_j is divided by the number of weights
summed, which leaves the order within a layer as it is. Ties go by position, lowest first.

Network slimming asks the norm behind the filter instead: s_j = |gamma_j| (Liu et al. 2017, arXiv:1708.06519).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from .groups import ChannelGroup, Unit

__all__ = ["FilterScores", "Ranked", "filter_scores", "norm_scales", "rank", "restore_multiples", "voters", "weakest"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """A unit with its place in the ranking.

    Attributes:
        unit: the unit.
        norm: s_j, summed over the filters of the unit.
        filters: how many filters it has.
        weights: how many weights were summed.
    """

    unit: Unit
    norm: float
    filters: int
    weights: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterScores:
    """Scores of one layer's filters, or of one norm's channels.

    Attributes:
        values: float64 [channels].
        weights: how many weights each is the sum of.
    """

    values: Tensor
    weights: int


def filter_scores(layer: nn.Module, scores: Tensor) -> FilterScores:
    """Scores of weights, in the shape of the layer's weight, summed over each filter or neuron."""
    by_filter = scores.transpose(0, 1) if isinstance(layer, _ConvNd) and layer.transposed else scores
    flat = by_filter.flatten(1)
    return FilterScores(values=flat.sum(dim=1), weights=flat.shape[1])


def norm_scales(modules: Mapping[str, nn.Module]) -> dict[str, FilterScores]:
    """|gamma| of every norm that has one, by name."""
    return {
        name: FilterScores(values=layer.weight.detach().double().abs(), weights=1)
        for name, layer in modules.items()
        if isinstance(layer, (_NormBase, nn.GroupNorm)) and layer.weight is not None
    }


def voters(group: ChannelGroup, roots: Collection[str], scores: Collection[str]) -> list[str]:
    """Whose scores count in a group: of its layers the roots, and its norms, as far as they have any."""
    tied = {name for unit in group.units for name in unit.outputs}
    return [name for name in scores if name in tied and (name in roots or name not in group.layers)]


def rank(group: ChannelGroup, *, roots: Sequence[str], scores: Mapping[str, FilterScores]) -> list[Ranked]:
    """The units of a group with their scores, in the order of `group.units`.

    Args:
        group: the group.
        roots: its layers that vote.
        scores: by name of layer, or of norm: those of the group's norms count, and of its layers the roots'.
    """
    voting = voters(group, roots, scores)
    values = {name: scores[name].values.tolist() for name in voting}
    return [
        Ranked(
            unit=unit,
            norm=sum(values[name][j] for name in voting for j in unit.outputs.get(name, ())),
            filters=sum(len(unit.outputs.get(name, ())) for name in roots),
            weights=sum(scores[name].weights * len(unit.outputs.get(name, ())) for name in voting),
        )
        for unit in group.units
    ]


def weakest(candidates: Sequence[Ranked], *, budget: int, per_weight: bool) -> list[Ranked] | None:
    """The weakest units, as many as the budget pays for, never the last unit of a layer.

    Args:
        candidates: whole groups.
        budget: units to remove; with `per_weight`, filters to remove (a unit that no longer fits ends it).
        per_weight: rank by s_j over the number of weights, as different layers need it.

    Returns:
        The units to remove, or None if that many can only be had by emptying a layer.
    """
    keys = [ranked.norm / max(ranked.weights, 1) if per_weight else ranked.norm for ranked in candidates]
    ascending = sorted(range(len(keys)), key=keys.__getitem__)
    strongest: dict[str, int] = {}
    for place in ascending:
        strongest.update(dict.fromkeys(candidates[place].unit.outputs, place))
    protected = set(strongest.values())
    chosen: list[Ranked] = []
    for place in ascending:
        price = max(candidates[place].filters, 1) if per_weight else 1
        if price > budget:
            return chosen
        if place not in protected:
            chosen.append(candidates[place])
            budget -= price
    return None if budget else chosen


def restore_multiples(removed: Sequence[Ranked], *, widths: Mapping[str, int], multiple: int) -> list[Ranked]:
    """Give back the strongest removed units until every layer has a multiple of `multiple` channels, or all of its own.

    Args:
        removed: units to remove.
        widths: output channels of every convolution and linear layer, before.
        multiple: what the channels that are left are rounded up to.
    """
    left = sorted(removed, key=lambda ranked: ranked.norm)
    while True:
        gone: dict[str, int] = {}
        for ranked in left:
            for name, channels in ranked.unit.outputs.items():
                gone[name] = gone.get(name, 0) + len(channels)
        uneven = [name for name, width in widths.items() if gone.get(name) and (width - gone[name]) % multiple]
        if not uneven:
            return left
        last = max(place for place, ranked in enumerate(left) if uneven[0] in ranked.unit.outputs)
        del left[last]
