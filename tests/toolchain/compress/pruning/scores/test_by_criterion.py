"""Every criterion of the settings has its scores; those that look at images stand back in a rehearsal."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning.scores.by_criterion import weight_scores
from hardtemper.toolchain.recipe.training import FineTuning
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning

CRITERIA = get_args(WeightPruning.model_fields["criterion"].annotation)


def settings(criterion: str) -> WeightPruning:
    return WeightPruning(criterion=criterion, scope="global" if criterion == "lamp" else "layer")  # type: ignore[arg-type]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_scores_are_one_a_weight_and_not_below_zero(
    criterion: str, net: Callable[..., nn.Sequential], train: Part
) -> None:
    module = net()
    context = Context(input_shape=(1, 8, 8), train=train.head(64), finetune=FineTuning(batch_size=32))
    found = weight_scores(module, {"0": 0.5, "6": 0.5}, settings(criterion), context)
    for name, scores in found.items():
        assert scores.shape == module.get_submodule(name).get_parameter("weight").shape
        assert scores.dtype == torch.float64
        assert (scores >= 0).all()
    rehearsed = weight_scores(module, {"0": 0.5, "6": 0.5}, settings(criterion), Context(input_shape=(1, 8, 8)))
    same = all(torch.equal(rehearsed[name], found[name]) for name in found)
    assert same is (criterion not in ("taylor", "hydra"))


def test_each_criterion_has_scores_of_its_own(net: Callable[..., nn.Sequential], train: Part) -> None:
    context = Context(input_shape=(1, 8, 8), train=train.head(64), finetune=FineTuning(batch_size=32))
    found = [weight_scores(net(), {"6": 0.5}, settings(criterion), context)["6"] for criterion in CRITERIA]
    assert len({tuple(scores.flatten().tolist()) for scores in found}) == len(CRITERIA) == 6
