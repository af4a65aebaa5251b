"""Units are the classes of the ties, groups the classes of the layers that share units."""

from __future__ import annotations

import networkx
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.toolchain.compress.pruning.groups import Slot, Ties, gather


def test_a_residual_add_and_its_readers() -> None:
    ties = Ties()
    for j in range(3):
        ties.tie(("a", "out", j), ("b", "out", j))
        ties.tie(("a", "out", j), ("norm", "out", j))
        ties.tie(("b", "out", j), ("c", "in", j))
    ties.tie(("c", "out", 0), ("c", "out", 0))
    ties.block(("c", "out", 0), "first")
    ties.block(("c", "out", 0), "second")
    one, two = ties.groups(["a", "b", "c"])
    assert (one.layers, one.obstacle) == (("a", "b"), "")
    assert (two.layers, two.obstacle) == (("c",), "first")
    assert [unit.outputs for unit in one.units] == [{"a": (j,), "b": (j,), "norm": (j,)} for j in range(3)]
    assert [unit.inputs for unit in one.units] == [{"c": (j,)} for j in range(3)]


def test_units_without_an_output_of_a_layer_are_dropped() -> None:
    ties = Ties()
    ties.tie(("a", "out", 0), ("a", "out", 0))
    ties.tie(("a", "in", 0), ("a", "in", 1))  # a grouped convolution that reads the image
    (group,) = ties.groups(["a"])
    assert [unit.outputs for unit in group.units] == [{"a": (0,)}]


def test_gather_unites_and_sorts() -> None:
    assert gather([{"a": (3, 1)}, {"a": (1, 2), "b": (0,)}]) == {"a": (1, 2, 3), "b": (0,)}


slots = st.tuples(st.sampled_from("abcd"), st.sampled_from(["out", "in"]), st.integers(0, 3))


@given(st.lists(st.tuples(slots, slots), max_size=30))
def test_units_are_connected_components(pairs: list[tuple[Slot, Slot]]) -> None:
    ties, graph = Ties(), networkx.Graph()
    for name in "abcd":
        ties.tie((name, "out", 0), (name, "out", 0))
        graph.add_node((name, "out", 0))
    for one, other in pairs:
        ties.tie(one, other)
        graph.add_edge(one, other)
    found = {
        frozenset(
            (name, side, j)
            for side, channels in (("out", unit.outputs), ("in", unit.inputs))
            for name, indices in channels.items()
            for j in indices
        )
        for group in ties.groups("abcd")
        for unit in group.units
    }
    components = {frozenset(component) for component in networkx.connected_components(graph)}
    assert found == {component for component in components if any(side == "out" for _, side, _ in component)}
