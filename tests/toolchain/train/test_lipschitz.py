from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.training import Training
from hardtemper.toolchain.train.lipschitz import lipschitz_penalty

LAYERS = [
    (nn.Linear(6, 4), [slice(None)]),
    (nn.Linear(4, 6), [slice(None)]),
    (nn.Conv2d(3, 5, 3), [slice(None)]),
    (nn.Conv2d(1, 20, 2), [slice(None)]),
    (nn.Conv2d(4, 6, 3, groups=2), [slice(0, 3), slice(3, 6)]),
    (nn.Conv2d(3, 3, 3, groups=3), [slice(0, 1), slice(1, 2), slice(2, 3)]),
]


@pytest.mark.parametrize(("layer", "groups"), LAYERS, ids=lambda value: str(value)[:40])
def test_value_and_gradient_are_the_papers(layer: nn.Module, groups: list[slice]) -> None:
    """Equation 6 as it is written, each group a matrix."""
    assert isinstance(layer.weight, nn.Parameter)
    expected = torch.zeros(())
    for rows in groups:
        matrix = layer.weight[rows].flatten(1)
        expected = expected + (matrix.T @ matrix - torch.eye(matrix.shape[1])).square().sum() / 2
    found = lipschitz_penalty(nn.Sequential(layer, nn.ReLU()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    ours, theirs = (torch.autograd.grad(value, layer.weight)[0] for value in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_an_isometry_has_no_penalty() -> None:
    layer = nn.Linear(5, 8)
    nn.init.orthogonal_(layer.weight)
    assert lipschitz_penalty(layer).item() == pytest.approx(0, abs=1e-5)
    assert lipschitz_penalty(nn.ReLU()).item() == 0


@pytest.mark.parametrize("weight_perturbation", [0.0, 0.005])
def test_training_lowers_it(weight_perturbation: float, tune: Callable[..., Any]) -> None:
    """By the part that can be lowered: wider matrices than high ones keep the difference of their sides."""
    least = (9 - 4 + 64 - 4) / 2
    adversary = with_overrides(
        {}, {"adversary.weight_perturbation": weight_perturbation, "adversary.steps": 1}
    ).adversary
    options: dict[str, Any] = {"adversary": adversary} if weight_perturbation else {}
    settings = {"epochs": 2, "batch_size": 32, "learning_rate": 0.02}
    plain, held = (tune(Training(**settings, lipschitz=beta), **options).module for beta in (0.0, 0.1))
    assert 0 < lipschitz_penalty(held).item() - least < 0.95 * (lipschitz_penalty(plain).item() - least)


def test_not_on_the_twin() -> None:
    with pytest.raises(RecipeError, match=r"finetune_twin.lipschitz: .*expected: 0; got: 0.1; fix: finetune.lipschitz"):
        with_overrides({}, {"finetune_twin.lipschitz": 0.1})
