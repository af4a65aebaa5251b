"""Single weights go: budgets to the weight, against torch's own pruning, patterns by hand, and clear refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from hardtemper.bench.data.dataset import Part
from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.compressed import Compressed
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning.zero_weights import prune_weights
from hardtemper.toolchain.recipe.training import FineTuning
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning

SHAPE = (1, 8, 8)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU()),
        *(nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)),
    ).eval()


LAYERS = ["0", "3", "5", "8"]


def pruned(module: nn.Module, **asked: Any) -> Compressed:
    return prune_weights(module, WeightPruning(**asked), Context(input_shape=SHAPE))


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: module.get_submodule(name).get_parameter("weight").detach() for name in LAYERS}


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.81, 0.97])
def test_within_a_layer_as_torch_prunes(sparsity: float) -> None:
    dense = network()
    result = pruned(dense, sparsity=sparsity)
    other = copy.deepcopy(dense)
    for name in LAYERS:
        prune.l1_unstructured(other.get_submodule(name), "weight", amount=sparsity)
    for name, weight in weights(result.module).items():
        assert torch.equal(weight, other.get_submodule(name).weight.detach())
        assert int((weight == 0).sum()) == round(sparsity * weight.numel())
    assert sum(int((w == 0).sum()) for w in weights(result.module).values()) == result.steps[0].checks["zeros"]


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
def test_over_all_layers_as_torch_prunes(sparsity: float) -> None:
    dense = network()
    result = pruned(dense, sparsity=sparsity, scope="global")
    other = copy.deepcopy(dense)
    layers = [(other.get_submodule(name), "weight") for name in LAYERS]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=sparsity)
    for name, weight in weights(result.module).items():
        assert torch.equal(weight, other.get_submodule(name).weight.detach())


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.9), st.integers(0, 1000), st.sampled_from(["l1", "l2", "random"]))
def test_budgets_are_met_to_the_weight(sparsity: float, seed: int, criterion: str) -> None:
    dense = network(seed)
    found = weights(pruned(dense, sparsity=sparsity, criterion=criterion).module)
    assert all(int((w == 0).sum()) == round(sparsity * w.numel()) for w in found.values())
    left = {name: w != 0 for name, w in found.items()}
    assert all(torch.equal(found[name][left[name]], weights(dense)[name][left[name]]) for name in LAYERS)


def test_a_layer_with_its_own_sparsity_is_ranked_by_itself() -> None:
    result = pruned(network(), sparsity=0.5, scope="global", per_layer={"8": 0.25}, keep=("3",))
    found = weights(result.module)
    assert int((found["8"] == 0).sum()) == 60
    assert int((found["3"] == 0).sum()) == 0
    assert sum(int((found[name] == 0).sum()) for name in ("0", "5")) == round(0.5 * (72 + 864))
    assert {row.name: row.reason for row in result.layers} == {
        "0": "",
        "1": "weights of convolutions and linear layers are pruned, no others",
        "3": "kept as asked",
        "5": "",
        "8": "",
    }


@pytest.mark.parametrize(("pattern", "kept", "of"), [("2:4", 2, 4), ("1:4", 1, 4), ("4:8", 4, 8)])
def test_patterns_keep_n_of_every_m_inputs(pattern: str, kept: int, of: int) -> None:
    dense = network()
    result = pruned(dense, pattern=pattern)
    before, after = weights(dense), weights(result.module)
    for name in ("5", "8"):
        rows = after[name].movedim(1, -1).reshape(-1, of)
        dense_rows = before[name].movedim(1, -1).reshape(-1, of)
        assert ((rows != 0).sum(1) == kept).all()
        best = dense_rows.abs().topk(kept, dim=1).values.sort(1).values
        assert torch.equal(rows.abs().topk(kept, dim=1).values.sort(1).values, best)
    reasons = {row.name: row.reason for row in result.layers}
    assert reasons["0"] == reasons["3"] == f"its filters read 1 channels, no multiple of {of}"


def test_pruning_again_changes_nothing() -> None:
    once = pruned(network(), sparsity=0.6).module
    twice = pruned(once, sparsity=0.6).module
    assert all(torch.equal(weights(once)[name], weights(twice)[name]) for name in LAYERS)


@pytest.mark.parametrize("criterion", ["l1", "random", "taylor"])
def test_rounds_end_at_the_budget_and_keep_what_went(
    criterion: str, net: Callable[..., nn.Sequential], train: Part
) -> None:
    seen: list[dict[str, Tensor]] = []
    asked = WeightPruning(sparsity=0.8, rounds=4, criterion=criterion)  # type: ignore[arg-type]
    context = Context(input_shape=SHAPE, train=train.head(64), finetune=FineTuning(batch_size=32, learning_rate=0.05))
    dense = net()
    with pytest.MonkeyPatch.context() as patch:
        from hardtemper.toolchain.compress.pruning import rounds

        def noting(module: nn.Module, *given: Any, **options: Any) -> Any:
            seen.append({name: w.detach() == 0 for name, w in module.named_parameters() if w.ndim > 1})
            return finetune(module, *given, **options)

        finetune = rounds.finetune
        patch.setattr(rounds, "finetune", noting)
        result = prune_weights(dense, asked, context)
    zeros = [*seen, {name: w == 0 for name, w in result.module.named_parameters() if w.ndim > 1}]
    assert len(zeros) == 4
    for number, masks in enumerate(zeros, start=1):
        for name, mask in masks.items():
            assert int(mask.sum()) == round(0.2 * number * mask.numel())
            assert number == 1 or (mask | ~zeros[number - 2][name]).all()
    kept = result.module.get_parameter("6.weight")
    assert not torch.equal(kept[kept != 0], dense.get_parameter("6.weight")[kept != 0])  # it was trained in between
    assert len(result.steps) == 1
    assert result.steps[0].settings["rounds"] == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sparsity": 0.99, "per_layer": {"0": 0.999}}, r"sparsity 0.999 would leave no weight of '0'"),
        ({"keep": ("*",)}, r"no weight of this network can be pruned.*kept as asked"),
        ({"pattern": "3:7"}, r"no weight of this network can be pruned.*no multiple of 7"),
        ({"per_layer": {"convolution": 0.5}}, r"per_layer names no convolution or linear layer"),
    ],
)
def test_what_cannot_be_done(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(CompressionError, match=message):
        pruned(network(), **asked)


def test_one_threshold_that_empties_a_layer_is_refused_when_it_counts(train: Part) -> None:
    dense = network()
    dense[0].weight.data *= 1e-4
    asked = WeightPruning(sparsity=0.9, scope="global")
    rehearsed = prune_weights(dense, asked, Context(input_shape=SHAPE))  # weights are others after training
    assert not rehearsed.module.get_parameter("0.weight").any()
    with pytest.raises(CompressionError, match=r"would leave no weight of '0'"):
        prune_weights(dense, asked, Context(input_shape=SHAPE, train=train))
