"""Units and groups of channels, from pairs of channels that are tied (disjoint sets, union-find).

Two channels are tied if the network says so, directly or through others: the classes of this relation are the *units*,
which can only be removed whole; layers that share a unit form a *group*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["UNFOLLOWED", "ChannelGroup", "Slot", "Ties", "Unit", "gather"]

UNFOLLOWED = (
    "its channels cannot be followed through what stands behind it (a channel shuffle, a split, a fixed reshape)"
)
"""Why a group stays: removing its channels would slice the wrong ones of a layer behind."""

Slot = tuple[str, str, int]
"""(name of a module, "out" or "in", index of a channel on that side)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Channels that can only be removed together, in the dense numbering.

    Attributes:
        outputs: output channels by name of layer: convolutions, linear layers, norms, PReLU.
        inputs: input channels by name of layer: those that read the outputs.
    """

    outputs: Mapping[str, tuple[int, ...]]
    inputs: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelGroup:
    """Layers whose outputs are tied.

    Attributes:
        layers: names of the convolutions and linear layers, in the network's order.
        units: what can be removed, by first channel.
        obstacle: why none of it can; "" if it can.
    """

    layers: tuple[str, ...]
    units: tuple[Unit, ...]
    obstacle: str


class Ties:
    """Collects ties between channels and obstacles, then gives the groups."""

    def __init__(self) -> None:
        self._parent: dict[Slot, Slot] = {}
        self._obstacles: dict[Slot, str] = {}

    def tie(self, one: Slot, other: Slot) -> None:
        """Two channels go together; a channel tied to itself is merely known."""
        self._parent[self._find(one)] = self._find(other)

    def block(self, slot: Slot, reason: str) -> None:
        """The group of this channel must stay; the first reason counts."""
        self._obstacles.setdefault(slot, reason)

    def groups(self, layers: Sequence[str]) -> tuple[ChannelGroup, ...]:
        """The groups of `layers`, whose order is kept; units without a channel of theirs are dropped."""
        place = {name: position for position, name in enumerate(layers)}
        sides: dict[Slot, dict[str, dict[str, list[int]]]] = {}
        for slot in self._parent:
            name, side, channel = slot
            sides.setdefault(self._find(slot), {"out": {}, "in": {}})[side].setdefault(name, []).append(channel)
        units = [
            Unit(outputs=_frozen(members["out"]), inputs=_frozen(members["in"]))
            for members in sides.values()
            if not place.keys().isdisjoint(members["out"])
        ]
        shared = Ties()  # layers that share a unit are one group: the same relation, now of layers
        for unit in units:
            owners = [name for name in unit.outputs if name in place]
            for name in owners:
                shared.tie((owners[0], "", 0), (name, "", 0))

        def group_of(name: str) -> Slot:
            return shared._find((name, "", 0))

        def first_channel(unit: Unit) -> tuple[int, int]:
            return min((place[name], channels[0]) for name, channels in unit.outputs.items() if name in place)

        members_of: dict[Slot, list[str]] = {}
        for name in layers:
            members_of.setdefault(group_of(name), []).append(name)
        units_of: dict[Slot, list[Unit]] = {}
        for unit in sorted(units, key=first_channel):
            units_of.setdefault(group_of(next(name for name in unit.outputs if name in place)), []).append(unit)
        reasons: dict[Slot, str] = {}
        for (name, _, _), reason in self._obstacles.items():
            reasons.setdefault(group_of(name), reason)
        return tuple(
            ChannelGroup(layers=tuple(names), units=tuple(units_of[root]), obstacle=reasons.get(root, ""))
            for root, names in members_of.items()
        )

    def _find(self, slot: Slot) -> Slot:
        parent = self._parent
        parent.setdefault(slot, slot)
        while parent[slot] != slot:
            parent[slot] = parent[parent[slot]]
            slot = parent[slot]
        return slot


def gather(channels: Iterable[Mapping[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """The union of channels by name, ascending."""
    union: dict[str, set[int]] = {}
    for mapping in channels:
        for name, indices in mapping.items():
            union.setdefault(name, set()).update(indices)
    return {name: tuple(sorted(indices)) for name, indices in union.items()}


def _frozen(channels: Mapping[str, list[int]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(sorted(indices)) for name, indices in channels.items()}
