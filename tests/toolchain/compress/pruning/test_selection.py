"""Requests that cannot be carried out are refused with a way out; the others leave a reason for every layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.pruning.groups import ChannelGroup, Unit
from hardtemper.toolchain.compress.pruning.importance import FilterScores, filter_scores
from hardtemper.toolchain.compress.pruning.scores.magnitude import l1
from hardtemper.toolchain.compress.pruning.selection import Selection, select
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning

KINDS = {"stem": "conv", "a": "conv", "b": "conv", "d": "depthwise conv", "hidden": "linear", "logits": "linear"}


def tied(*layers: str, width: int, obstacle: str = "", norm: str = "") -> ChannelGroup:
    names = [*layers, norm] if norm else layers
    units = tuple(Unit(outputs=dict.fromkeys(names, (j,)), inputs={}) for j in range(width))
    return ChannelGroup(layers=layers, units=units, obstacle=obstacle)


GROUPS = (
    tied("stem", width=8, norm="bn"),
    tied("a", "b", "d", width=10),
    tied("hidden", width=4),
    tied("logits", width=2, obstacle="logits layer: its outputs are the classes"),
)


def modules() -> dict[str, nn.Module]:
    """Filter j of a layer has the norm j + 1, those of `a` are ten times as large and fall."""
    widths = {"stem": 8, "a": 10, "b": 10, "d": 10, "hidden": 4, "logits": 2}
    layers: dict[str, nn.Module] = {}
    for name, width in widths.items():
        layer = nn.Linear(1, width) if KINDS[name] == "linear" else nn.Conv2d(1, width, 1)
        values = torch.arange(1.0, width + 1) if name != "a" else torch.arange(10.0 * width, 0, -10)
        layer.weight.data = values.view_as(layer.weight)
        layers[name] = layer
    return layers


def scores() -> dict[str, FilterScores]:
    layers = modules()
    return {name: filter_scores(layers[name], values) for name, values in l1(nn.ModuleDict(layers), layers).items()}


def chosen(**settings: Any) -> Selection:
    asked = FilterPruning(**{"sparsity": 0.0, **settings})
    return select(GROUPS, scores=scores(), kinds=KINDS, settings=asked)


def removed(selection: Selection, name: str) -> list[int]:
    return sorted(j for unit in selection.removed for j in unit.outputs.get(name, ()))


def test_uniform() -> None:
    selection = chosen(sparsity=0.5)
    assert removed(selection, "stem") == removed(selection, "bn") == [0, 1, 2, 3]
    assert removed(selection, "a") == removed(selection, "d") == [5, 6, 7, 8, 9]  # a outvotes b, d has no vote
    assert selection.reasons == {
        "hidden": "linear layer: filters of convolutions are pruned, neurons only with linear=True",
        "logits": "logits layer: its outputs are the classes",
    }


def test_zero_leaves_everything_with_a_reason() -> None:
    selection = chosen()
    assert selection.removed == ()
    assert selection.reasons["stem"] == selection.reasons["a"] == "sparsity 0 asked"
    assert selection.reasons["d"] == "depthwise: follows the group of 'a'"
    assert selection.reasons["bn"] == "follows 'stem'"


def test_too_little_rounds_to_none() -> None:
    assert chosen(sparsity=0.05).reasons["stem"] == "sparsity 0.05 of 8 filters rounds to none"


def test_rounding_up_to_everything_has_a_reason() -> None:
    selection = chosen(sparsity=0.5, round_to=6)
    assert removed(selection, "stem") == [0, 1]
    assert removed(selection, "a") == [6, 7, 8, 9]
    reason = chosen(sparsity=0.25, round_to=8).reasons["stem"]
    assert reason == "its channels rounded up to a multiple of 8 are all of them"


def test_linear_prunes_hidden_neurons_only() -> None:
    selection = chosen(sparsity=0.5, linear=True)
    assert removed(selection, "hidden") == [0, 1]
    assert removed(selection, "logits") == []


def test_a_name_goes_before_patterns_and_a_later_pattern_before_an_earlier() -> None:
    selection = chosen(sparsity=0.5, per_layer={"stem": 0.25, "*": 0.7, "[abd]": 0.1})
    assert len(removed(selection, "stem")) == 2
    assert len(removed(selection, "a")) == 1
    with pytest.raises(CompressionError, match=r"tied layers have two sparsities: a, b, d.*got: 0.1, 0.7"):
        chosen(per_layer={"*": 0.7, "[ab]": 0.1})
    assert len(removed(chosen(per_layer={"*": 0.7, "[ab]": 0.1, "d": 0.2}), "a")) == 2
    assert len(removed(chosen(per_layer={"*": 0.7}), "b")) == 7


def test_one_of_the_tied_layers_speaks_for_all() -> None:
    assert len(removed(chosen(sparsity=0.9, per_layer={"d": 0.2}, keep=("stem",)), "a")) == 2


def test_keep_holds_what_is_tied() -> None:
    selection = chosen(sparsity=0.5, keep=("b",))
    assert removed(selection, "a") == []
    assert selection.reasons["b"] == "kept as asked"
    assert selection.reasons["a"] == "tied to a group that must stay: 'b' is kept as asked"
    assert chosen(sparsity=0.5, keep=("s*",)).reasons["stem"] == "kept as asked"


def test_global_ranks_all_layers_together() -> None:
    # Per weight: stem 1..8; a and b together (101, 92, ..., 20) / 2 for two filters each.
    selection = chosen(sparsity=0.3, scope="global")  # 8 of 28 filters, one of the stem stays
    assert removed(selection, "stem") == [0, 1, 2, 3, 4, 5, 6]
    assert removed(selection, "a") == []
    assert selection.reasons["a"] == "none of its filters is among the weakest of all"
    selection = chosen(sparsity=0.5, scope="global")
    assert len(removed(selection, "stem")) == 7
    assert removed(selection, "b") == [7, 8, 9]  # 7 + 2 * 3 filters; another pair does not fit into 14
    own = chosen(sparsity=0.1, scope="global", per_layer={"stem": 0.5})
    assert len(removed(own, "stem")) == 4
    assert removed(own, "a") == [9]  # 2 of 20


REFUSED = [
    ({"per_layer": {"sten": 0.5}}, r"per_layer names no convolution.*'stem'.*got: 'sten'; fix: did you mean 'stem'\?"),
    ({"per_layer": {"layer9.*": 0.5}}, r"got: 'layer9\.\*'"),
    ({"keep": ("bn",)}, r"keep names no convolution or linear layer.*got: 'bn'"),
    ({"per_layer": {"logits": 0.5}}, r"asks to prune 'logits', which cannot be.*got: logits layer"),
    ({"per_layer": {"hidden": 0.5}}, r"asks to prune 'hidden'.*linear=True"),
    ({"sparsity": 0.96}, r"sparsity 0.96 would leave no filter of a layer: stem;.*got: 8 of 8 filters.*fix: a lower"),
    ({"sparsity": 0.99, "scope": "global"}, r"would leave no filter of a layer: stem, a.*got: 28 of 28"),
    ({"sparsity": 0.5, "keep": ("stem", "a")}, r"nothing in this network can be pruned; got: stem: kept as asked"),
    ({"sparsity": 0.5, "keep": ("stem", "a")}, r"fix: --sparsity 0: quantize it without pruning$"),
    ({"per_layer": {"s*": 0.5}, "keep": ("stem", "a")}, r"fix: --sparsity 0 and no per_layer: quantize it without"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[repr(settings) for settings, _ in REFUSED])
def test_refusals_say_what_was_expected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CompressionError, match=message):
        chosen(**settings)


def test_a_channel_of_its_own_kind_cannot_go() -> None:
    one = Unit(outputs={"stem": (0, 1, 2)}, inputs={})
    group = ChannelGroup(layers=("stem",), units=(one,), obstacle="")
    selection = select([group], scores=scores(), kinds=KINDS, settings=FilterPruning(sparsity=0.0))
    assert selection.reasons == {"stem": "all its channels are tied to one another"}
