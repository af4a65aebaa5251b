"""Norms, the order in which units go, and rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hardtemper.toolchain.compress.pruning.groups import ChannelGroup, Unit
from hardtemper.toolchain.compress.pruning.importance import (
    FilterScores,
    Ranked,
    filter_scores,
    norm_scales,
    rank,
    restore_multiples,
    voters,
    weakest,
)

LAYERS = [
    (nn.Conv2d(3, 5, 3), (1, 2, 3)),
    (nn.Conv2d(4, 6, 3, groups=2), (1, 2, 3)),
    (nn.Conv1d(3, 5, 2), (1, 2)),
    (nn.ConvTranspose2d(3, 5, 3), (0, 2, 3)),
    (nn.Linear(7, 5), (1,)),
]


@pytest.mark.parametrize(("layer", "over"), LAYERS, ids=[repr(layer) for layer, _ in LAYERS])
def test_norms_are_sums_of_absolute_weights(layer: nn.Module, over: tuple[int, ...]) -> None:
    weight = layer.get_parameter("weight").detach().double()
    expected = torch.linalg.vector_norm(weight, ord=1, dim=over)
    found = filter_scores(layer, weight.abs())
    torch.testing.assert_close(found.values, expected)
    assert found.weights == weight.numel() // len(expected)


def unit(name: str, *channels: int) -> Unit:
    return Unit(outputs={name: channels}, inputs={})


def ranked(name: str, *norms: float, weights: int = 1) -> list[Ranked]:
    return [Ranked(unit=unit(name, j), norm=norm, filters=1, weights=weights) for j, norm in enumerate(norms)]


def test_tied_filters_add_their_norms() -> None:
    a, b = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False)
    a.weight.data = torch.tensor([1.0, -5.0]).view(2, 1, 1, 1)
    b.weight.data = torch.tensor([[-3.0, 3.0], [1.0, 0.5]]).view(2, 2, 1, 1)
    units = tuple(Unit(outputs={"a": (j,), "b": (j,)}, inputs={}) for j in range(2))
    group = ChannelGroup(layers=("a", "b"), units=units, obstacle="")
    scores = {name: filter_scores(layer, layer.weight.detach().abs()) for name, layer in (("a", a), ("b", b))}
    found = rank(group, roots=["a", "b"], scores=scores)
    assert [(r.norm, r.filters, r.weights) for r in found] == [(7.0, 2, 3), (6.5, 2, 3)]
    assert [r.norm for r in rank(group, roots=["a"], scores=scores)] == [1.0, 5.0]


def test_ties_go_by_position_and_the_last_unit_stays() -> None:
    candidates = ranked("a", 2, 1, 1, 3)
    assert [r.unit.outputs["a"][0] for r in weakest(candidates, budget=2, per_weight=False) or ()] == [1, 2]
    assert len(weakest(candidates, budget=3, per_weight=False) or ()) == 3
    assert weakest(candidates, budget=4, per_weight=False) is None
    assert weakest(candidates, budget=0, per_weight=False) == []


def test_over_all_layers_norms_are_per_weight_and_no_layer_is_emptied() -> None:
    wide = ranked("wide", 100, 300, weights=100)  # 1 and 3 per weight
    narrow = ranked("narrow", 1.5, 0.5, weights=1)
    chosen = weakest([*wide, *narrow], budget=2, per_weight=True) or []
    assert [next(iter(r.unit.outputs.items())) for r in chosen] == [("narrow", (1,)), ("wide", (0,))]
    assert weakest([*wide, *narrow], budget=3, per_weight=True) is None


def test_a_unit_that_does_not_fit_the_budget_ends_it() -> None:
    tied = Ranked(unit=Unit(outputs={"a": (0,), "b": (0,)}, inputs={}), norm=2, filters=2, weights=2)
    other = ranked("c", 3, 0.5, 4)
    chosen = weakest([tied, *other], budget=1, per_weight=True) or []
    assert [r.norm for r in chosen] == [0.5]


@given(
    width=st.integers(1, 40),
    removed=st.integers(0, 39),
    multiple=st.integers(1, 16),
)
def test_rounding_up_gives_the_next_multiple_or_everything(width: int, removed: int, multiple: int) -> None:
    removed = min(removed, width - 1)
    left = restore_multiples(ranked("a", *range(width))[:removed], widths={"a": width}, multiple=multiple)
    kept = width - len(left)
    assert kept == min(-(-(width - removed) // multiple) * multiple, width)
    assert [r.norm for r in left] == list(range(width - kept))  # the weakest still go


def test_rounding_one_layer_never_uneven_another() -> None:
    tied = [
        Ranked(unit=Unit(outputs={"a": (j,), "b": (j,)}, inputs={}), norm=j, filters=2, weights=2) for j in range(5)
    ]
    own = ranked("b", 0, 0, 0)
    left = restore_multiples([*tied, *own], widths={"a": 8, "b": 12}, multiple=4)
    gone = {name: sum(name in r.unit.outputs for r in left) for name in "ab"}
    assert all((width - gone[name]) % 4 == 0 for name, width in {"a": 8, "b": 12}.items())


def test_norms_vote_with_their_scales_and_layers_do_not() -> None:
    norm = nn.BatchNorm2d(3)
    norm.weight.data = torch.tensor([1.0, -3.0, 2.0])
    scores = norm_scales({"norm": norm, "conv": nn.Conv2d(1, 3, 1), "bare": nn.BatchNorm2d(3, affine=False)})
    assert list(scores) == ["norm"]
    units = tuple(Unit(outputs={"conv": (j,), "norm": (j,)}, inputs={}) for j in range(3))
    group = ChannelGroup(layers=("conv",), units=units, obstacle="")
    assert voters(group, ["conv"], scores) == ["norm"]
    assert [(one.norm, one.weights) for one in rank(group, roots=["conv"], scores=scores)] == [(1, 1), (3, 1), (2, 1)]
    scores["conv"] = FilterScores(values=torch.ones(3).double(), weights=1)
    assert voters(group, [], scores) == ["norm"]
