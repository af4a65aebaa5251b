from __future__ import annotations

import torch
from torch import Tensor

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.norms import length
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.nearest import Nearest

BALL = ThreatModel("linf", 10 / 255)
X = torch.full((3, 1, 1, 2), 100 / 255)
Y = torch.zeros(3, dtype=torch.int64)


def model(x: Tensor) -> Tensor:
    """Class 1 above 105.4 levels of the first pixel."""
    first = x[:, 0, 0, 0]
    return torch.stack((torch.full_like(first, 105.4 / 255), first), 1)


def at(*levels: float) -> Tensor:
    points = X[: len(levels)].clone()
    points[:, 0, 0, 0] = torch.tensor(levels) / 255
    return points


def searched(*, minimize: bool) -> Nearest:
    return Nearest(model, X, Y, threat=BALL, minimize=minimize, batch_size=2)


def test_the_nearest_point_in_the_ball_is_kept() -> None:
    nearest = searched(minimize=True)
    rows = torch.arange(3)
    for points in (at(107, 104, 111), at(106, 105, 112), at(109, 104, 120)):
        fooled, finished = nearest.offer(rows, points, model(points))
        assert fooled.tolist() == [True, False, True]  # in the ball or not
        assert not finished.any()
    assert torch.equal(nearest.points, torch.cat((at(106), X[1:])))
    assert (255 * nearest.lengths).round().tolist() == [6, torch.inf, torch.inf]


def test_a_verdict_asks_whether_rounding_undoes_it() -> None:
    nearest = searched(minimize=False)
    points = at(105.45, 105.6, 109)
    fooled, finished = nearest.offer(torch.arange(3), points, model(points))
    assert fooled.all()
    assert finished.tolist() == [False, True, True]
    assert torch.equal(nearest.points, points)
    # What finishes an image replaces a nearer point that does not.
    later = at(107)
    assert nearest.offer(torch.tensor([0]), later, model(later))[1].all()
    assert torch.equal(nearest.points[:1], later)


def test_points_that_are_not_enough_do_not_count() -> None:
    nearest = searched(minimize=True)
    points = at(107, 107)
    fooled, _ = nearest.offer(torch.tensor([2, 0]), points, model(points), enough=torch.tensor([True, False]))
    assert fooled.tolist() == [True, False]
    assert nearest.lengths.isfinite().tolist() == [False, False, True]


def test_the_target_counts() -> None:
    nearest = Nearest(model, X, Y, threat=ThreatModel("linf", 0.5, target=0), minimize=True, batch_size=2)
    points = at(110, 110, 110)
    assert not nearest.offer(torch.arange(3), points, model(points))[0].any()


def test_a_point_on_the_sphere_is_in_the_ball() -> None:
    # float32 puts what was projected on the sphere a rounding error outside as often as inside.
    ball = ThreatModel("l2", 0.7)
    x = torch.randint(0, 256, (200, 1, 5, 5), generator=torch.Generator().manual_seed(0)) / 255
    y = torch.zeros(200, dtype=torch.int64)
    points = ball_of(ball).project(1 - x, x)
    outside = length((points - x).flatten(1), "l2") > ball.epsilon
    assert 20 < outside.sum() < 180

    def fooled(images: Tensor) -> Tensor:
        return torch.tensor([[0.0, 1.0]]).expand(len(images), 2)

    nearest = Nearest(fooled, x, y, threat=ball, minimize=False, batch_size=128)
    assert nearest.offer(torch.arange(200), points, fooled(points))[1].all()
    assert torch.equal(nearest.points, points)
    far = x + 1.001 * (points - x)
    assert (
        not Nearest(fooled, x, y, threat=ball, minimize=False, batch_size=128)
        .offer(torch.arange(200), far, fooled(far))[1]
        .any()
    )
