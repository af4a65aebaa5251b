"""Ascent on a smoother network: what it opens, and that the network itself decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.attacks.white_box.surrogate import surrogate
from hardtemper.export.twin.surrogates import gentle, saw, step, through
from hardtemper.runtime.errors import RecipeError

LINF = ThreatModel("linf", 0.1)


def linear(x: Tensor) -> Tensor:
    """Two classes; the second wins once half of the pixels rise by more than a twentieth."""
    score = (x.flatten(1) - 0.55).sum(1)
    return torch.stack([torch.zeros_like(score), score], 1)


def stepped(x: Tensor) -> Tensor:
    return linear(through(x, (x.detach() * 50).floor() / 50))


def saturated(x: Tensor) -> Tensor:
    soft: Callable[..., Tensor] = gentle(torch.softmax)
    return soft(1e4 * linear(x), 1)


def shattered(x: Tensor) -> Tensor:
    """The saw's own slope turns the gradient round."""
    return linear(x - 2 * saw(torch.fmod, x, torch.tensor(1 / 64)) + 1 / 64)


def labels_only(x: Tensor) -> Tensor:
    logits = linear(x)
    gap = logits[:, 1] - logits[:, 0]
    second = step(gap[:, None], gap[:, None] > 0)
    return torch.cat([1 - second, second], 1)


HIDING = {f.__name__: f for f in (linear, stepped, saturated, shattered, labels_only)}


def task() -> tuple[Tensor, Tensor]:
    return torch.full((6, 1, 4, 4), 128 / 255), torch.zeros(6, dtype=torch.int64)


@pytest.mark.parametrize("passes", ["both", "backward"])
@pytest.mark.parametrize("name", HIDING)
def test_what_hides_is_broken(name: str, passes: Any) -> None:
    x, y = task()
    assert (HIDING[name](x).argmax(1) == 0).all()
    found = surrogate(HIDING[name], x, y, threat=LINF, passes=passes, noise=0.1, steps=20)
    assert (HIDING[name](found).argmax(1) == 1).all()
    assert ((found - x).abs() <= 0.1 + 1e-6).all()


def test_the_saturated_one_withstands_what_follows_its_own_gradient() -> None:
    x, y = task()
    found = apgd(saturated, x, y, threat=LINF, steps=20, generator=torch.Generator().manual_seed(0))
    assert (saturated(found).argmax(1) == 0).all()


def test_the_network_itself_decides_and_the_smooth_one_only_points() -> None:
    class Liar(nn.Module):
        """Smooth, it is broken at once; without a gradient to follow it never is."""

        def forward(self, images: Tensor) -> Tensor:
            logits = linear(images)
            return logits + torch.tensor([0.0, 100.0]) if torch.is_grad_enabled() else logits - 1e3 * logits.abs()

    x, y = task()
    found = surrogate(Liar(), x, y, threat=LINF, steps=3)
    assert found.shape == x.shape
    assert (found != x).any()


def test_an_image_that_is_wrong_already_comes_back_and_the_seed_repeats_the_rest() -> None:
    x, y = task()
    y[0] = 1
    tight = ThreatModel("linf", 2 / 255)
    one, other = (
        surrogate(linear, x, y, threat=tight, steps=3, noise=1, generator=torch.Generator().manual_seed(4))
        for _ in range(2)
    )
    assert torch.equal(one[0], x[0])
    assert torch.equal(one, other)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": 0}, {"leak": 1.5}, {"noise": -1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="surrogate"):
        surrogate(linear, *task(), threat=LINF, **wrong)
