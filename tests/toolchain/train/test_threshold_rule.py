"""Thresholds are moved by Adam alone, along the stage's schedule, and go on from a checkpoint alike."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.export.lower import lower
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.twin.movable_scales import movable_scales
from hardtemper.export.twin.twin import Twin
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.training import TwinTraining
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.threshold_rule import ThresholdRule, threshold_rule
from hardtemper.toolchain.train.training_context import TrainingContext


@pytest.fixture
def integer(net: Callable[..., nn.Sequential], train: Part) -> IntegerGraph:
    graph = lower(net(dropout=0).eval(), input_shape=train.images.shape[1:])
    return quantize(graph, train.images[:32], scheme=Scheme(weight_bits=4, activation_bits=4))


def test_the_step_is_adams_and_no_others() -> None:
    weight, exponents = nn.Parameter(torch.ones(2)), nn.Parameter(torch.full((3,), -0.5))
    other = nn.Parameter(exponents.detach().clone())
    rule = ThresholdRule(exponents, learning_rate=0.25, share=lambda step: 1 / (1 + step))
    sgd = torch.optim.SGD([weight, exponents], lr=0.1, momentum=0.9, weight_decay=0.1)
    adam = torch.optim.Adam([other], lr=0.25)
    for step in range(3):
        weight.grad, exponents.grad = torch.ones(2), torch.tensor([1e-3, -1.0, 1e3])
        rule.with_gradients()
        assert exponents.grad is None  # nothing to clip
        sgd.step()
        rule.stepped()
        other.grad = torch.tensor([1e-3, -1.0, 1e3])
        adam.param_groups[0]["lr"] = 0.25 / (1 + step)
        adam.step()
    assert torch.equal(exponents, other)
    np.testing.assert_allclose(other.detach(), [-0.9583, -0.0417, -0.9583], atol=1e-3)  # as far, whatever the gradient


def test_a_checkpoint_goes_on_alike() -> None:
    def run(rule: ThresholdRule, exponents: nn.Parameter, steps: range) -> None:
        for step in steps:
            exponents.grad = torch.tensor([1.0, -float(step)])
            rule.with_gradients()
            rule.stepped()

    def made() -> tuple[ThresholdRule, nn.Parameter]:
        exponents = nn.Parameter(torch.zeros(2))
        return ThresholdRule(exponents, learning_rate=0.1, share=lambda step: 1 - step / 8), exponents

    whole, wanted = made()
    run(whole, wanted, range(6))
    first, before = made()
    run(first, before, range(3))
    second, after = made()
    with torch.no_grad():
        after.copy_(before)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    run(second, after, range(3, 6))
    assert torch.equal(after, wanted)


@pytest.mark.parametrize("replays", [1, 2])
def test_a_trained_twin_is_its_graph(integer: IntegerGraph, train: Part, replays: int) -> None:
    twin = Twin(
        integer.model,
        shadow=integer.shadow,
        weight_bits=integer.weight_bits,
        learned=movable_scales(integer.model, integer.bounded),
    )
    settings = TwinTraining(epochs=2, batch_size=32, threshold_learning_rate=0.3, average="ema", ema_decay=0.5)
    adversary = Adversary(attack="pgd", steps=1, replays=replays)
    rule = threshold_rule(twin, settings, images=64, adversary=adversary)
    finetune(twin, train.head(64), None, settings, stage="t", context=TrainingContext(), adversary=adversary, rule=rule)
    assert rule is not None
    assert rule.state_dict()["step"] == 4 * replays
    assert twin.thresholds is not None
    assert twin.thresholds.to_json()["moved"] > 0
    assert check_parity(twin.to_onnx(), train.images[:16], twin=twin).exact


def test_thresholds_that_stand_still_need_no_rule(integer: IntegerGraph) -> None:
    assert threshold_rule(Twin(integer.model), TwinTraining(), images=64, adversary=None) is None
