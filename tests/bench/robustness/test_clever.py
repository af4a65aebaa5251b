from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, weibull_min
from torch import nn

from hardtemper.bench.attacks.threat.norms import dual_length
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.clever import clever, reverse_weibull_location
from hardtemper.runtime.errors import ModelError, RecipeError

NORMS: Any = ["linf", "l2", "l1"]
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def smooth() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 4))


@pytest.mark.parametrize("target", [None, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_linear_model(norm: Any, target: int | None) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    model[1].weight.data -= model[1].weight.data.mean(1, keepdim=True)  # no class likeliest for all images
    x = torch.rand(6, 3, 2, 2)
    model[1].bias.data -= model(x).mean(0).detach()
    z, weight = model(x).detach(), model[1].weight.detach()
    y = z.argmax(1)
    distance = (z.amax(1, keepdim=True) - z) / dual_length(weight[y].unsqueeze(1) - weight, norm)
    distance.scatter_(1, y.unsqueeze(1), torch.inf if target is None else 0.0)
    expected = (distance.amin(1) if target is None else distance[:, target]).clamp(max=0.5).double()
    assert target is None or 0 < (y == target).sum() < 6
    threat = ThreatModel(norm, 0.5, target)
    scores = clever(model, x, threat=threat, batches=3, samples=4, generator=seeded())
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_scores_are_those_of_art(smooth: nn.Module, norm: Any) -> None:
    x = torch.rand(2, 1, 4, 4, generator=seeded(5))
    threat = ThreatModel(norm, 2.0 if norm == "l1" else 0.3)
    ours = clever(smooth, x, threat=threat, batches=20, samples=50, candidates=1, generator=seeded())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.estimators.classification import PyTorchClassifier
        from art.metrics import clever_t

        classifier = PyTorchClassifier(
            smooth,
            loss=nn.CrossEntropyLoss(),
            input_shape=(1, 4, 4),
            nb_classes=4,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        np.random.seed(0)  # noqa: NPY002 - ART draws from the global generator
        theirs = [
            clever_t(
                classifier,
                image.numpy(),
                int(smooth(image[None]).topk(2).indices[0, 1]),
                nb_batches=20,
                batch_size=50,
                radius=threat.epsilon,
                norm=ORDER[norm],
                pool_factor=3,
            )
            for image in x
        ]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0.15)


def test_least_over_classes_and_largest_radius(smooth: nn.Module) -> None:
    x = torch.rand(3, 1, 4, 4, generator=seeded(5))
    settings: Any = {"batches": 5, "samples": 20}
    all_of_them = clever(smooth, x, threat=ThreatModel("l2", 0.5), generator=seeded(), **settings)
    y = smooth(x).argmax(1)
    each = torch.stack(
        [clever(smooth, x, threat=ThreatModel("l2", 0.5, k), generator=seeded(), **settings) for k in range(4)], 1
    )
    assert (each.gather(1, y.unsqueeze(1)) == 0).all()
    others = each.scatter(1, y.unsqueeze(1), torch.inf)
    torch.testing.assert_close(all_of_them, others.amin(1), rtol=0.05, atol=0)
    assert (clever(smooth, x, threat=ThreatModel("l2", 1e-3), **settings) == 1e-3).all()


def test_the_score_is_the_gap_over_the_location(smooth: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def scores() -> torch.Tensor:
        threat = ThreatModel("l2", 3.0)
        return clever(smooth, x, threat=threat, batches=3, samples=10, candidates=1, generator=seeded())

    x = torch.rand(2, 1, 4, 4, generator=seeded(5))
    before = scores()
    name = "hardtemper.bench.robustness.clever.reverse_weibull_location"
    monkeypatch.setattr(name, lambda maxima: 2 * reverse_weibull_location(maxima))
    torch.testing.assert_close(scores(), before / 2)


@pytest.mark.parametrize("norm", NORMS)
def test_points_are_uniform_in_the_ball(norm: Any) -> None:
    """A ball in 4 dimensions grows with the fourth power of its radius."""
    points: list[torch.Tensor] = []

    def model(x: torch.Tensor) -> torch.Tensor:
        points.append(x.detach().flatten(1))
        return x.flatten(1)

    x = torch.full((1, 1, 2, 2), 0.5)
    x[..., 0, 0] = 0.6
    clever(model, x, threat=ThreatModel(norm, 0.4), batches=2, samples=1000, candidates=1, generator=seeded())
    moves = torch.cat(points).double() - x.flatten()
    moves = moves[(moves != 0).any(1)]
    assert len(moves) == 2000
    shares = (torch.linalg.vector_norm(moves, ORDER[norm], dim=1) / 0.4) ** 4
    assert kstest(shares.numpy(), "uniform").pvalue > 0.01
    assert moves.sign().mean(0).abs().max() < 0.07


def test_reproducible_and_in_batches(smooth: nn.Module) -> None:
    x, threat = torch.rand(2, 1, 4, 4, generator=seeded(5)), ThreatModel("linf", 0.3)
    a, b, c = (clever(smooth, x, threat=threat, batches=4, samples=10, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    parts = clever(smooth, x, threat=threat, batches=4, samples=10, batch_size=3, generator=seeded(1))
    torch.testing.assert_close(a, parts, rtol=0.1, atol=0)


@pytest.mark.parametrize("shape", [1.5, 2.0, 4.0])
def test_location_is_that_of_scipy(shape: float) -> None:
    draws = 7.0 - 0.5 * np.random.default_rng(0).weibull(shape, 300)
    found = reverse_weibull_location(draws)
    _, location, _ = weibull_min.fit(-draws, shape, loc=-7.0, scale=0.5)
    assert draws.max() < found
    assert found == pytest.approx(-location, abs=0.02 * np.ptp(draws))
    assert found == pytest.approx(7.0, abs=0.15)
    assert reverse_weibull_location(1e-9 * draws) == pytest.approx(1e-9 * found, rel=1e-6)


def test_location_of_what_does_not_vary() -> None:
    assert reverse_weibull_location(np.full(5, 3.0)) == 3.0
    assert reverse_weibull_location(np.zeros(5)) == 0.0


def test_no_end_in_sight() -> None:
    draws = np.random.default_rng(0).gumbel(size=300)
    assert reverse_weibull_location(draws) == draws.max()


@pytest.mark.parametrize("settings", [{"batches": 1}, {"samples": 0}, {"candidates": 0}], ids=str)
def test_refused_settings(smooth: nn.Module, settings: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        clever(smooth, torch.rand(1, 1, 4, 4), threat=ThreatModel("l2", 1.0), **settings)


def test_unknown_target(smooth: nn.Module) -> None:
    with pytest.raises(ModelError, match="expected: a class below 4; got: 9"):
        clever(smooth, torch.rand(1, 1, 4, 4), threat=ThreatModel("l2", 1.0, target=9))
