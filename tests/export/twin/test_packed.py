from __future__ import annotations

import torch
from torch import nn

from hardtemper.export.twin.execution import Plan
from hardtemper.export.twin.packed import PackedPlan


def test_a_plan_is_of_the_weights_it_was_made_for() -> None:
    net = nn.BatchNorm1d(3)
    plan = PackedPlan(Plan([], {}, {}), net)
    assert plan.is_current(net)
    assert not plan.is_current(nn.BatchNorm1d(3)), "equal weights, other buffers"
    net.weight.data += 1
    assert not plan.is_current(net)
    net.weight.data -= 1
    assert plan.is_current(net)
    assert isinstance(net.running_mean, torch.Tensor)
    net.running_mean += 0
    assert not plan.is_current(net)
