"""From settings (sparsity, layers, rounding) to the units that go and a reason for every layer that stays as it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ....runtime.errors import CompressionError
from ...recipe.filter_pruning import FilterPruning
from ..layer_names import by_layer, named
from .groups import ChannelGroup, Unit
from .importance import FilterScores, Ranked, rank, restore_multiples, voters, weakest

__all__ = ["Selection", "select"]

_NO_NORM = "no norm with scales stands behind it, so norm-scale has no score for it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The units to remove, and why each layer of which none is removed stays as it is."""

    removed: tuple[Unit, ...]
    reasons: Mapping[str, str]


def select(
    groups: Sequence[ChannelGroup],
    *,
    scores: Mapping[str, FilterScores],
    kinds: Mapping[str, str],
    settings: FilterPruning,
    before: Sequence[ChannelGroup] = (),
) -> Selection:
    """Choose what to remove.

    Args:
        groups: all groups of the network.
        scores: of filters or norms, see `rank`.
        kinds: kind ("conv", "linear", ...) of every convolution and linear layer by name.
        settings: what is asked for.
        before: the groups that the sparsities are shares of; the groups as they are by default.

    Raises:
        CompressionError: a name that is none of the network's, tied layers with two sparsities, a layer that would be
            emptied, or nothing that can be pruned.
    """
    keep = named(settings.keep, kinds, "keep")
    asked = by_layer(settings.per_layer, kinds)
    reasons: dict[str, str] = {}
    removed: list[Ranked] = []
    pool: list[Ranked] = []
    pooled: list[ChannelGroup] = []
    once = {group.layers: group for group in before}
    free = gone_filters = 0
    for group in groups:
        roots = _roots(group, kinds, linear=settings.linear)
        obstacle = _obstacle(group, roots, keep=keep) or ("" if voters(group, roots, scores) else _NO_NORM)
        if obstacle:
            _refuse_named(group, obstacle, settings.per_layer)
            reasons.update(_reasons(group, obstacle, kinds))
            reasons.update({name: "kept as asked" for name in group.layers if name in keep})
            continue
        free += 1
        own = _own_sparsity(group, asked, settings.per_layer)
        ranked = rank(group, roots=roots, scores=scores)
        gone = _gone(group, once.get(group.layers, group), roots)
        if own is None and settings.scope == "global":
            pool += ranked
            pooled.append(group)
            gone_filters += gone.filters
            continue
        sparsity = settings.sparsity if own is None else own
        units = len(ranked) + gone.units
        chosen = weakest(ranked, budget=max(round(sparsity * units) - gone.units, 0), per_weight=False)
        if chosen is None:
            raise _emptied(sparsity, group.layers, units)
        removed += chosen
        why = "sparsity 0 asked" if sparsity == 0 else f"sparsity {sparsity:g} of {units} filters rounds to none"
        reasons.update(_reasons(group, why, kinds))
    if not free and (settings.sparsity > 0 or any(asked.values())):
        first = "; ".join(f"{name}: {reasons[name]}" for name in list(filter(reasons.get, kinds))[:3])
        raise CompressionError(
            "nothing in this network can be pruned",
            got=first,
            fix=f"--sparsity 0{' and no per_layer' if any(asked.values()) else ''}: quantize it without pruning",
        )
    if pool:
        removed += _weakest_of_all(pool, settings.sparsity, gone_filters, [group.layers[0] for group in pooled])
        why = "none of its filters is among the weakest of all" if settings.sparsity else "sparsity 0 asked"
        for group in pooled:
            reasons.update(_reasons(group, why, kinds))
    widths = {name: sum(len(u.outputs.get(name, ())) for u in g.units) for g in groups for name in g.layers}
    left = restore_multiples(removed, widths=widths, multiple=settings.round_to)
    shrunk = {name for ranked in left for name in ranked.unit.outputs}
    for name in {name for ranked in removed for name in ranked.unit.outputs} - shrunk:
        reasons[name] = f"its channels rounded up to a multiple of {settings.round_to} are all of them"
    return Selection(
        removed=tuple(ranked.unit for ranked in left),
        reasons={name: reason for name, reason in reasons.items() if name not in shrunk},
    )


def _weakest_of_all(pool: Sequence[Ranked], sparsity: float, gone: int, layers: Sequence[str]) -> list[Ranked]:
    """The weakest of several groups, so that with the `gone` filters of earlier rounds the share is met."""
    filters = sum(ranked.filters for ranked in pool) + gone
    chosen = weakest(pool, budget=max(round(sparsity * filters) - gone, 0), per_weight=True)
    if chosen is None:
        raise _emptied(sparsity, layers, filters)
    return chosen


@dataclass(frozen=True, slots=True)
class _Gone:
    """What earlier rounds removed of a group."""

    units: int
    filters: int


def _gone(group: ChannelGroup, before: ChannelGroup, roots: Sequence[str]) -> _Gone:
    def filters(of: ChannelGroup) -> int:
        return sum(len(unit.outputs.get(name, ())) for unit in of.units for name in roots)

    return _Gone(len(before.units) - len(group.units), filters(before) - filters(group))


def _roots(group: ChannelGroup, kinds: Mapping[str, str], *, linear: bool) -> list[str]:
    """The layers whose norms rank the group: its convolutions; with none, its linear layers if they are asked for."""
    convolutions = [name for name in group.layers if kinds[name] in ("conv", "grouped conv")]
    return convolutions or [name for name in group.layers if kinds[name] == "linear" and linear]


def _obstacle(group: ChannelGroup, roots: Sequence[str], *, keep: Collection[str]) -> str:
    if group.obstacle:
        return group.obstacle
    kept = [name for name in group.layers if name in keep]
    if kept:
        return f"tied to a group that must stay: {kept[0]!r} is kept as asked"
    if not roots:
        return "linear layer: filters of convolutions are pruned, neurons only with linear=True"
    if len(group.units) == 1:
        return "all its channels are tied to one another"
    return ""


def _reasons(group: ChannelGroup, why: str, kinds: Mapping[str, str]) -> dict[str, str]:
    """One reason for the layers of a group; its depthwise convolutions and norms follow the first of the others."""
    leaders = [name for name in group.layers if kinds[name] != "depthwise conv"]
    depthwise = [name for name in group.layers if kinds[name] == "depthwise conv"]
    norms = {name for unit in group.units for name in unit.outputs if name not in group.layers}
    first = (leaders or depthwise)[0]
    behind = f"depthwise: follows the group of {first!r}" if leaders else "depthwise: it follows no convolution"
    return {
        **dict.fromkeys(norms, f"follows {first!r}"),
        **dict.fromkeys(depthwise, behind),
        **dict.fromkeys(leaders, why),
    }


def _own_sparsity(group: ChannelGroup, asked: Mapping[str, float], named: Mapping[str, float]) -> float | None:
    speakers = [name for name in group.layers if name in named] or [name for name in group.layers if name in asked]
    wanted = sorted({asked[name] for name in speakers})
    if len(wanted) > 1:
        raise CompressionError(
            f"tied layers have two sparsities: {', '.join(group.layers)}",
            expected="one for all of them, because they are pruned together",
            got=", ".join(f"{value:g}" for value in wanted),
            fix="give it to one of them by name; the others follow",
        )
    return wanted[0] if wanted else None


def _refuse_named(group: ChannelGroup, obstacle: str, per_layer: Mapping[str, float]) -> None:
    for name in group.layers:
        if per_layer.get(name, 0) > 0:
            raise CompressionError(
                f"per_layer asks to prune {name!r}, which cannot be",
                expected="a layer whose filters can be removed",
                got=obstacle,
                fix=f"take {name!r} out of per_layer",
            )


def _emptied(sparsity: float, layers: Sequence[str], filters: int) -> CompressionError:
    return CompressionError(
        f"sparsity {sparsity:g} would leave no filter of a layer: {', '.join(layers)}",
        expected="at least one filter left of each",
        got=f"{round(sparsity * filters)} of {filters} filters to remove",
        fix=f"a lower sparsity, per_layer={{{layers[0]!r}: 0.5}} or keep=[{layers[0]!r}]",
    )
