from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from hardtemper.toolchain.compress.pruning.groups import ChannelGroup, Unit
from hardtemper.toolchain.compress.pruning.unfollowed import unfollowed

UNITS = [Unit(outputs={f"layer{index // 2}": (index % 2,)}, inputs={}) for index in range(16)]
GROUPS = [ChannelGroup(layers=(f"layer{i}",), units=tuple(UNITS[2 * i : 2 * i + 2]), obstacle="") for i in range(8)]


@pytest.mark.parametrize("wrong", [c for k in (1, 2, 8) for c in itertools.combinations(range(8), k)])
def test_groups_are_found(wrong: tuple[int, ...]) -> None:
    bad = {id(unit) for index in wrong for unit in GROUPS[index].units}
    trials = 0

    def is_right(units: Sequence[Unit]) -> bool:
        nonlocal trials
        trials += 1
        return not any(id(unit) in bad for unit in units)

    assert unfollowed(GROUPS, UNITS, is_right=is_right) == [GROUPS[index] for index in wrong]
    assert trials <= 1 + 14  # every part of a tree of eight leaves but the whole, and nothing
    if len(wrong) == 1:
        assert trials == 1 + 2 * 3


def test_only_what_shall_be_removed_is_tried() -> None:
    asked = UNITS[1:4:2]  # of the first two groups
    tried: list[list[int]] = []

    def is_right(units: Sequence[Unit]) -> bool:
        tried.append([UNITS.index(unit) for unit in units])
        return UNITS[3] not in units

    assert unfollowed(GROUPS, asked, is_right=is_right) == [GROUPS[1]]
    assert tried == [[], [1], [3]]


def test_a_network_that_is_never_the_same() -> None:
    assert unfollowed(GROUPS, UNITS, is_right=lambda units: False) == []
