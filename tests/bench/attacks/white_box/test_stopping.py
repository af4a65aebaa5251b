from __future__ import annotations

import torch
from torch import Tensor

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.stopping import broken

THREAT = ThreatModel("linf", 0.1)


def bright(x: Tensor) -> Tensor:
    """Says class 1 from a mean of 100.3 levels on, between whole levels."""
    level = x.flatten(1).mean(1) * 255
    return torch.stack((torch.full_like(level, 100.3), level), 1)


def test_a_point_that_fools_by_a_hair_is_not_broken() -> None:
    x = torch.full((4, 1, 2, 2), 100 / 255)
    x_adv = x + torch.tensor([0.2, 0.4, 0.6, 25.5]).view(4, 1, 1, 1) / 255
    logits = bright(x_adv)
    y = torch.zeros(4, dtype=torch.int64)
    assert (logits.argmax(1) != y).tolist() == [False, True, True, True]
    assert broken(bright, logits, x_adv, x, y, threat=THREAT, batch_size=2).tolist() == [False, False, True, True]


def test_towards_a_target() -> None:
    # Class 0 up to 100.3 levels, then class 1, from 110 on class 2.
    def three(x: Tensor) -> Tensor:
        level = x.flatten(1).mean(1) * 255
        return torch.stack((torch.full_like(level, 100.3), level, 2 * level - 110), 1)

    x = torch.full((3, 1, 2, 2), 100 / 255)
    x_adv = x + torch.tensor([0.0, 5.0, 12.0]).view(3, 1, 1, 1) / 255
    y = torch.zeros(3, dtype=torch.int64)
    for target, expected in ((None, [False, True, True]), (1, [False, True, False]), (2, [False, False, True])):
        threat = ThreatModel("linf", 0.1, target=target)
        assert broken(three, three(x_adv), x_adv, x, y, threat=threat, batch_size=2).tolist() == expected
    assert not broken(three, three(x_adv), x_adv, x, y + 2, threat=threat, batch_size=2).any()


def test_nothing_fooled_costs_nothing() -> None:
    def never(x: Tensor) -> Tensor:
        raise AssertionError

    x = torch.zeros(2, 1, 2, 2)
    y = torch.zeros(2, dtype=torch.int64)
    assert not broken(never, bright(x), x, x, y, threat=THREAT, batch_size=2).any()
