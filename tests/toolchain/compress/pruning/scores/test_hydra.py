"""HYDRA: it starts as magnitude pruning, its gradient is the published one, and learning beats magnitude."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning.scores.hydra import _Scored, hydra
from hardtemper.toolchain.compress.pruning.zero_weights import prune_weights
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.training import FineTuning, Training
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.heldout import held_out_accuracy
from hardtemper.toolchain.train.training_context import TrainingContext

ADVERSARY = Adversary(attack="fgsm", threat="linf:0.1")


@pytest.fixture(scope="module")
def trained(net: Callable[..., nn.Sequential], train: Part) -> nn.Module:
    settings = Training(epochs=3, batch_size=32, learning_rate=0.05, momentum=0.9)
    context = TrainingContext()
    return finetune(net(), train, None, settings, stage="train", context=context, adversary=ADVERSARY).module


@pytest.fixture
def context(train: Part, heldout: Part) -> Context:
    return Context(
        input_shape=(1, 8, 8), train=train, heldout=heldout, finetune=FineTuning(batch_size=32), adversary=ADVERSARY
    )


def test_scores_start_at_the_published_values_and_the_gradient_passes_the_choice() -> None:
    weight = torch.tensor([[1.0, -4.0, 2.0, 0.5]])
    scored = _Scored(weight, sparsity=0.5)
    torch.testing.assert_close(scored.scores.detach(), weight / 4 * (6 / 4) ** 0.5)
    used = scored(weight)
    assert used.tolist() == [[0.0, -4.0, 2.0, 0.0]]
    (used * torch.tensor([[1.0, 2.0, 3.0, 4.0]])).sum().backward()  # type: ignore[no-untyped-call]
    assert scored.scores.grad is not None
    assert scored.scores.grad.tolist() == [[1.0, -8.0, 6.0, 2.0]]  # dl/ds = dl/d(used) * w, pruned weights included


def test_parameters_are_left_alone_and_the_same_comes_again(trained: nn.Module, context: Context) -> None:
    module = copy.deepcopy(trained)
    scores = hydra(module, {"6": 0.9}, context, epochs=1, learning_rate=0.1)
    assert all(torch.equal(value, trained.get_parameter(name)) for name, value in module.named_parameters())
    assert all(weight.requires_grad for weight in module.parameters())
    assert not torch.equal(module.get_buffer("1.running_mean"), trained.get_buffer("1.running_mean"))
    again = hydra(copy.deepcopy(trained), {"6": 0.9}, context, epochs=1, learning_rate=0.1)
    assert torch.equal(scores["6"], again["6"])
    assert not torch.equal(scores["6"].argsort(), trained.get_submodule("6").weight.detach().double().abs().argsort())


def test_learned_scores_leave_more_robust_accuracy_than_magnitude(trained: nn.Module, context: Context) -> None:
    settings = {"sparsity": 0.9, "score_epochs": 4, "score_learning_rate": 0.1}
    assert context.heldout is not None

    def robust(criterion: str) -> float:
        module = prune_weights(trained, WeightPruning(criterion=criterion, **settings), context).module  # type: ignore[arg-type]
        found = held_out_accuracy(module, context.heldout, ADVERSARY, seed=0, batch_size=64)[1]  # type: ignore[arg-type]
        assert found is not None
        return found

    assert robust("hydra") > robust("l1")


def test_standard_builds_learn_them_on_clean_images(trained: nn.Module, train: Part) -> None:
    context = Context(input_shape=(1, 8, 8), train=train, finetune=FineTuning(batch_size=64))
    scores = hydra(copy.deepcopy(trained), {"0": 0.5, "6": 0.8}, context, epochs=1, learning_rate=0.1)
    assert scores["0"].shape == trained.get_submodule("0").weight.shape
