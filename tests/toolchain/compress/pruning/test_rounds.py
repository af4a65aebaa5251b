"""Rounds of filter pruning: shares of the dense network, training in between, and one round in a rehearsal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning import rounds
from hardtemper.toolchain.compress.pruning.filters import prune_filters
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.training import FineTuning

SHAPE = (1, 8, 8)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.wide = nn.Conv2d(1, 7, 3), nn.Conv2d(7, 7, 3, padding=1), nn.Conv2d(7, 13, 3)
        self.norm, self.head = nn.BatchNorm2d(7), nn.Linear(13, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.branch(x))
        return self.head(self.wide(x).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture
def dense() -> nn.Module:
    torch.manual_seed(0)
    return Residual().eval()


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int], Adversary | None, int]]:
    """(stage, widths, adversary, epochs) of every training between rounds."""
    seen: list[tuple[str, list[int], Adversary | None, int]] = []
    finetune = rounds.finetune

    def noting(module: Any, train: Any, heldout: Any, settings: Any, **options: Any) -> Any:
        widths = [module.stem.out_channels, module.wide.out_channels]
        seen.append((options["stage"], widths, options["adversary"], settings.epochs))
        return finetune(module, train, heldout, settings, **options)

    monkeypatch.setattr(rounds, "finetune", noting)
    return seen


def context(train: Part | None, adversary: Adversary | None = None) -> Context:
    tuning = FineTuning(epochs=3, batch_size=32, learning_rate=0.05)
    return Context(input_shape=SHAPE, train=train, finetune=tuning, adversary=adversary, step=2)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_they_end_at_the_budget_of_one_round(dense: nn.Module, train: Part, stages: list[Any], scope: str) -> None:
    asked = {"sparsity": 0.6, "scope": scope, "per_layer": {} if scope == "global" else {"wide": 0.5}}
    once = prune_filters(dense, FilterPruning(**asked), context(train))
    assert not stages
    result = prune_filters(dense, FilterPruning(**asked, rounds=3, retrain_epochs=1), context(train))
    assert [stage for stage, *_ in stages] == ["compress 2: round 1", "compress 2: round 2"]
    if scope == "layer":
        assert [widths for _, widths, *_ in stages] == [[7 - 1, 13 - 2], [7 - 3, 13 - 4]]
        assert [row.channels_after for row in result.layers] == [row.channels_after for row in once.layers]
    gone = sum(row.channels_before - row.channels_after for row in result.layers if row.kind == "conv")
    # of all layers together round(0.6 * 27) = 16 filters go, but for a pair of tied ones that would be one too many
    assert gone in ((4 + 4 + 6,) if scope == "layer" else (15, 16))
    rows = {row.name: row for row in result.layers}
    assert rows["stem"].channels_before == 7
    assert len(rows["stem"].removed) == 7 - rows["stem"].channels_after
    assert [(step.method, step.settings["sparsity"], step.settings["rounds"]) for step in result.steps] == [
        ("filters", 0.6, 3)
    ]
    assert result.steps[0].checks["max_abs_difference"] < 1e-4


def test_they_train_as_fine_tuning_does(dense: nn.Module, train: Part, stages: list[Any]) -> None:
    adversary = Adversary(attack="fgsm", objective="trades")
    prune_filters(dense, FilterPruning(sparsity=0.5, rounds=2, retrain_epochs=2), context(train, adversary))
    ((_, _, against, epochs),) = stages
    assert epochs == 2
    assert against == adversary.plain


def test_a_rehearsal_takes_one_round(dense: nn.Module, train: Part, stages: list[Any]) -> None:
    result = prune_filters(dense, FilterPruning(sparsity=0.5, rounds=5), context(None))
    assert not stages
    assert {row.name: row.channels_after for row in result.layers}["wide"] == 7
    again = prune_filters(dense, FilterPruning(sparsity=0.5), context(None))
    assert torch.equal(result.module.head.weight, again.module.head.weight)  # type: ignore[union-attr]


def test_the_same_comes_again(dense: nn.Module, train: Part) -> None:
    results = [prune_filters(dense, FilterPruning(sparsity=0.6, rounds=3), context(train)) for _ in range(2)]
    first, second = (result.module.state_dict() for result in results)
    assert all(torch.equal(first[name], second[name]) for name in first)
