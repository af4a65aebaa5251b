"""Which units go: those of the smallest l1-norm (Li et al. 2017).

    s_j = ||F_j||_1 = sum_i ||F_ij||_1

is the norm of filter j of a convolution, over its input channels i and its kernel. A unit of several filters (a
residual add, a grouped convolution) has the sum of their norms. Depthwise filters and linear layers that follow a
convolution have no vote. Over all layers at once a sum would never choose a wide filter or a unit of many filters, so
there s_j is divided by the number of weights summed, which leaves the order within a layer as it is. Ties go by
position, lowest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .groups import ChannelGroup, Unit

__all__ = ["Ranked", "filter_norms", "rank", "restore_multiples", "weakest"]


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


def filter_norms(layer: nn.Module) -> Tensor:
    """s_j of every filter of a convolution, or of every neuron of a linear layer: float64 [out_channels]."""
    weight = layer.get_parameter("weight").detach().double().abs()
    if isinstance(layer, _ConvNd) and layer.transposed:
        weight = weight.transpose(0, 1)
    return weight.flatten(1).sum(dim=1)


def rank(group: ChannelGroup, *, roots: Sequence[str], modules: Mapping[str, nn.Module]) -> list[Ranked]:
    """The units of a group with the norms of their filters in `roots`, in the order of `group.units`."""
    norms = {name: filter_norms(modules[name]).tolist() for name in roots}
    size = {name: modules[name].get_parameter("weight").numel() // len(norms[name]) for name in roots}
    return [
        Ranked(
            unit=unit,
            norm=sum(norms[name][j] for name in roots for j in unit.outputs.get(name, ())),
            filters=sum(len(unit.outputs.get(name, ())) for name in roots),
            weights=sum(size[name] * len(unit.outputs.get(name, ())) for name in roots),
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
