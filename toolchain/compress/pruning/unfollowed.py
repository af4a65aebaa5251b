"""Groups whose channels the dependency graph follows to the wrong place, found by trying.

A channel shuffle (Zhang et al. 2018, ShuffleNet), a split, a fixed reshape or an index between two layers moves
channels in ways that torch-pruning does not see: it would slice the wrong kernels of the layer behind. `equivalence.py`
notices that of the whole network; here a part of the groups is pruned alone, in a copy, and where that is wrong too,
each half of the part: k such groups among n are found in about 2 k log2(n / k) trials.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from .groups import ChannelGroup, Unit

__all__ = ["unfollowed"]


def unfollowed(
    groups: Sequence[ChannelGroup], removed: Collection[Unit], *, is_right: Callable[[Sequence[Unit]], bool]
) -> list[ChannelGroup]:
    """The groups of which the units in `removed` cannot be removed.

    Args:
        groups: all groups of a network.
        removed: what shall be removed, which is wrong as a whole.
        is_right: whether removing these units alone gives the masked network.

    Returns:
        In their order; none where even an unchanged copy is another network (one that draws noise).
    """
    chosen = {id(unit) for unit in removed}
    parts = [(group, [unit for unit in group.units if id(unit) in chosen]) for group in groups]
    return _search([part for part in parts if part[1]], is_right) if is_right(()) else []


def _search(
    parts: Sequence[tuple[ChannelGroup, list[Unit]]], is_right: Callable[[Sequence[Unit]], bool]
) -> list[ChannelGroup]:
    """Of parts that are wrong together."""
    if len(parts) <= 1:
        return [group for group, _ in parts]
    middle, found = len(parts) // 2, list[ChannelGroup]()
    for half in (parts[:middle], parts[middle:]):
        if not is_right([unit for _, units in half for unit in units]):
            found += _search(half, is_right)
    return found
