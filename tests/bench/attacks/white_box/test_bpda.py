from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.attacks.white_box.bpda import bpda
from hardtemper.export.twin.gradients import leak
from hardtemper.runtime.errors import RecipeError

LINF = ThreatModel("linf", 0.1)


class Hidden(nn.Module):
    """A way to the other class that only opens at 3/4 of the ball, and a decoy at right angles to it."""

    def __init__(self) -> None:
        super().__init__()
        self.way = nn.Parameter(torch.tensor([1.0, -1.0]).repeat(8))
        self.decoy = nn.Parameter(torch.ones(16))

    def forward(self, images: Tensor) -> Tensor:
        moved = images.flatten(1) - 0.5
        opened = torch.relu(moved @ self.way - 1.2)  # at most 1.6 - 1.2
        return torch.stack([1 + 0.01 * moved @ self.decoy, 10 * opened], 1)


def task() -> tuple[nn.Module, Tensor, Tensor]:
    return Hidden(), torch.full((8, 1, 4, 4), 128 / 255), torch.zeros(8, dtype=torch.int64)


def test_opens_what_plain_gradients_do_not_see() -> None:
    model, x, y = task()
    plain = apgd(model, x, y, threat=LINF, restarts=5, generator=torch.Generator().manual_seed(0))
    assert (model(plain).argmax(1) == y).all()
    found = bpda(model, x, y, threat=LINF, steps=10, generator=torch.Generator().manual_seed(0))
    assert (model(found).argmax(1) != y).all()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_is_apgd_on_gradients_that_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = task()
    passed: dict[str, Any] = {}
    shares = []

    def noted(leaky: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        passed.update(settings)
        assert images is x
        assert labels is y
        for enabled in (True, False):
            with torch.set_grad_enabled(enabled):
                leaky(x)
        return x + 1

    def looked(images: Tensor) -> Tensor:
        shares.append(leak())
        logits: Tensor = model(images)
        return logits

    monkeypatch.setattr(sys.modules["hardtemper.bench.attacks.white_box.bpda"], "apgd", noted)
    settings: dict[str, Any] = {
        "threat": LINF,
        "loss": "dlr-targeted",
        "steps": 7,
        "restarts": 3,
        "generator": torch.Generator(),
        "batch_size": 5,
    }
    assert torch.equal(bpda(looked, x, y, leak=0.3, **settings), x + 1)
    assert passed == settings
    assert shares == [0.3, 0.0]  # with a gradient, and without


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_leak_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(RecipeError, match="leak"):
        bpda(*task(), threat=LINF, leak=share)
