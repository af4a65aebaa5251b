"""Taylor scores against what the loss does, against one product by hand, and without a trace in the module."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning.scores.taylor import taylor
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.training import FineTuning, Training
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.training_context import TrainingContext

LAYERS = ["0", "6"]


def context(train: Part, adversary: Adversary | None = None, batch_size: int = 128) -> Context:
    return Context(input_shape=(1, 8, 8), train=train, finetune=FineTuning(batch_size=batch_size), adversary=adversary)


@pytest.fixture
def module(net: Callable[..., nn.Sequential], train: Part) -> nn.Module:
    settings = Training(epochs=1, batch_size=32, learning_rate=0.05)
    return finetune(net(), train, None, settings, stage="train", context=TrainingContext()).module


def test_one_batch_by_hand(module: nn.Module, train: Part) -> None:
    part = train.head(96)
    x, y = torch.from_numpy(part.images).float() / 255, torch.from_numpy(part.labels)
    weights = [module.get_submodule(name).get_parameter("weight") for name in LAYERS]
    slopes = torch.autograd.grad(F.cross_entropy(module(x), y), weights)
    found = taylor(module, LAYERS, context(part), images=1000)
    for name, weight, slope in zip(LAYERS, weights, slopes, strict=True):
        torch.testing.assert_close(found[name], (weight.detach() * slope).double().square(), rtol=1e-4, atol=1e-12)


def test_batches_are_averaged(module: nn.Module, train: Part) -> None:
    halves = [train.head(128).subset(64, seed=3), train.head(64)]
    of_halves = [taylor(module, LAYERS, context(half), images=64)["0"] for half in halves]
    assert not torch.equal(of_halves[0], of_halves[1])
    twice = Part(
        images=torch.from_numpy(train.head(64).images).repeat(2, 1, 1, 1).numpy(),
        labels=torch.from_numpy(train.head(64).labels).repeat(2).numpy(),
        name="train",
        indices=torch.arange(128).numpy(),
        split="train",
    )
    torch.testing.assert_close(taylor(module, LAYERS, context(twice, batch_size=64), images=128)["0"], of_halves[1])


def test_it_foretells_the_loss_better_than_chance(module: nn.Module, train: Part) -> None:
    """Rank correlation with the square of the true change, weight by weight."""
    x, y = torch.from_numpy(train.head(128).images).float() / 255, torch.from_numpy(train.head(128).labels)
    scores = taylor(module, ["0"], context(train.head(128)), images=128)["0"].flatten()
    net = copy.deepcopy(module).double()
    changes = []
    with torch.no_grad():
        before = F.cross_entropy(net(x.double()), y)
        flat = net.get_submodule("0").get_parameter("weight").view(-1)
        for place in range(flat.numel()):
            kept = float(flat[place])
            flat[place] = 0
            changes.append(float((F.cross_entropy(net(x.double()), y) - before) ** 2))
            flat[place] = kept
    ranks = torch.stack([values.argsort().argsort().double() for values in (scores, torch.tensor(changes))])
    assert torch.corrcoef(ranks)[0, 1] > 0.8


def test_an_adversary_changes_them_and_the_module_does_not_change(module: nn.Module, train: Part) -> None:
    module.get_submodule("6").requires_grad_(False)
    module.train().zero_grad()
    before = copy.deepcopy(module.state_dict())
    clean = taylor(module, LAYERS, context(train), images=64)
    robust = taylor(module, LAYERS, context(train, Adversary(attack="fgsm", threat="linf:0.3")), images=64)
    assert not torch.allclose(clean["0"], robust["0"])
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [weight.requires_grad for weight in module.parameters()] == [True, True, True, False, False]
    assert all(weight.grad is None for weight in module.parameters())
