from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.losses import ce
from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box import half_precision
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.attacks.white_box.fab import fab
from hardtemper.bench.attacks.white_box.gradient import frozen, logits_and_gradient, logits_of
from hardtemper.bench.attacks.white_box.half_precision import HalfPrecisionGradients
from hardtemper.runtime.errors import ModelError

needs_bfloat16 = pytest.mark.skipif(
    half_precision.gradient_dtype() != torch.bfloat16, reason="no bfloat16 on this processor"
)


class Noted(nn.Module):
    """Notes the types that come through."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(x.dtype)
        return x


@needs_bfloat16
def test_convolutions_are_in_bfloat16_and_logits_are_not() -> None:
    torch.manual_seed(0)
    between, behind = Noted(), Noted()
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), between, nn.Flatten(), nn.Linear(16, 3), behind)
    half = HalfPrecisionGradients(model)
    half(torch.rand(2, 1, 4, 4, requires_grad=True))
    assert (between.seen, behind.seen) == ({torch.bfloat16}, {torch.float32})
    between.seen.clear()
    half(torch.rand(2, 1, 4, 4))
    with torch.no_grad():
        half(torch.rand(2, 1, 4, 4, requires_grad=True))
    assert between.seen == {torch.float32}


def test_without_bfloat16_it_is_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "gradient_dtype", lambda: torch.float32)
    noted = Noted()
    half = HalfPrecisionGradients(nn.Sequential(nn.Conv2d(1, 4, 3), noted, nn.Flatten()))
    half(torch.rand(2, 1, 4, 4, requires_grad=True))
    assert noted.seen == {torch.float32}


def test_quantized_networks_are_refused() -> None:
    model = Noted()
    model.quantizers = ("q",)  # type: ignore[assignment]
    with pytest.raises(ModelError, match="float network"):
        HalfPrecisionGradients(model)


@needs_bfloat16
def test_gradients_are_close_and_scores_the_same(task: Any) -> None:
    x, y = task.x[:64], task.y[:64]
    half = HalfPrecisionGradients(task.model)
    with frozen(half):
        logits, _, mine = logits_and_gradient(half, x, (y,), ce, 64)
        wanted_logits, _, wanted = logits_and_gradient(task.model, x, (y,), ce, 64)
        assert torch.equal(logits_of(half, x, 64), logits_of(task.model, x, 64))
    assert not torch.equal(logits, wanted_logits)
    torch.testing.assert_close(logits, wanted_logits, rtol=0, atol=0.1)
    assert nn.functional.cosine_similarity(mine.flatten(1), wanted.flatten(1)).median() > 0.999


@needs_bfloat16
def test_the_verdict_is_that_of_float32(task: Any) -> None:
    threat = ThreatModel("linf", 0.08)
    settings: dict[str, Any] = {"threat": threat, "steps": 20}
    robust = [
        task.robust(apgd(model, task.x, task.y, generator=torch.Generator().manual_seed(0), **settings), threat)
        for model in (task.model, HalfPrecisionGradients(task.model))
    ]
    assert 0.05 < robust[0] < 0.95
    assert abs(robust[0] - robust[1]) <= 2 / len(task.x)


@needs_bfloat16
def test_a_convolution_as_head_has_the_models_word_on_success() -> None:
    """Its logits are rounded to bfloat16 with a gradient, where 1.001 is 1; a verdict is without."""
    behind = Noted()
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), behind)
    model[0].weight.data = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]], [[[0.0, 1.0], [0.0, 0.0]]]])
    model[0].bias.data = torch.zeros(2)
    half = HalfPrecisionGradients(model)
    x = torch.tensor([130.0, 127.0, 0.0, 0.0]).view(1, 1, 2, 2) / 255
    half(x.requires_grad_())
    assert behind.seen == {torch.bfloat16}
    x, y = x.detach(), torch.zeros(1, dtype=torch.int64)
    for ball, breaks in ((ThreatModel("linf", 1 / 255), False), (ThreatModel("linf", 2 / 255), True)):
        for attack in (apgd, fab):
            found = attack(half, x, y, threat=ball, steps=10, generator=torch.Generator().manual_seed(0))
            pixels = ball_of(ball).to_pixels(found, (255 * x).round().byte()).float() / 255
            assert bool(model(pixels).argmax(1) == 1) == breaks
