"""From settings (sparsity, layers, rounding) to the units that go and a reason for every layer that stays as it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ....runtime.errors import CompressionError
from ...recipe.filter_pruning import FilterPruning
from ..layer_names import asked_by_layer, layers_named
from .groups import ChannelGroup, Unit
from .importance import Ranked, rank, restore_multiples, weakest

__all__ = ["Selection", "select"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The units to remove, and why each layer of which none is removed stays as it is."""

    removed: tuple[Unit, ...]
    reasons: Mapping[str, str]


def select(
    groups: Sequence[ChannelGroup],
    *,
    modules: Mapping[str, nn.Module],
    kinds: Mapping[str, str],
    settings: FilterPruning,
) -> Selection:
    """Choose what to remove.

    Args:
        groups: all groups of the network.
        modules: the dense network's modules by name.
        kinds: kind ("conv", "linear", ...) of every convolution and linear layer by name.
        settings: what is asked for.

    Raises:
        CompressionError: a name that is none of the network's, tied layers with two sparsities, a layer that would be
            emptied, or nothing that can be pruned.
    """
    keep = {name for names in layers_named(settings.keep, kinds, "keep").values() for name in names}
    asked = asked_by_layer(settings.per_layer, kinds)
    reasons: dict[str, str] = {}
    removed: list[Ranked] = []
    pool: list[Ranked] = []
    pooled: list[ChannelGroup] = []
    free = 0
    for group in groups:
        roots = _roots(group, kinds, linear=settings.linear)
        obstacle = _obstacle(group, roots, keep=keep)
        if obstacle:
            _refuse_named(group, obstacle, settings.per_layer)
            reasons.update(_reasons(group, obstacle, kinds))
            reasons.update({name: "kept as asked" for name in group.layers if name in keep})
            continue
        free += 1
        own = _own_sparsity(group, asked, settings.per_layer)
        ranked = rank(group, roots=roots, modules=modules)
        if own is None and settings.scope == "global":
            pool += ranked
            pooled.append(group)
            continue
        sparsity = settings.sparsity if own is None else own
        budget = round(sparsity * len(ranked))
        chosen = weakest(ranked, budget=budget, per_weight=False)
        if chosen is None:
            raise _emptied(sparsity, group.layers, len(ranked))
        removed += chosen
        why = "sparsity 0 asked" if sparsity == 0 else f"sparsity {sparsity:g} of {len(ranked)} filters rounds to none"
        reasons.update(_reasons(group, why, kinds))
    if not free and (settings.sparsity > 0 or any(asked.values())):
        first = "; ".join(f"{name}: {reasons[name]}" for name in list(filter(reasons.get, kinds))[:3])
        raise CompressionError(
            "nothing in this network can be pruned",
            got=first,
            fix=f"--sparsity 0{' and no per_layer' if any(asked.values()) else ''}: quantize it without pruning",
        )
    if pool:
        chosen = weakest(pool, budget=round(settings.sparsity * sum(r.filters for r in pool)), per_weight=True)
        if chosen is None:
            raise _emptied(settings.sparsity, [group.layers[0] for group in pooled], sum(r.filters for r in pool))
        removed += chosen
        for group in pooled:
            why = "none of its filters is among the weakest of all" if settings.sparsity else "sparsity 0 asked"
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
