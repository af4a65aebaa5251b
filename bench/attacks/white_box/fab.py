"""FAB, the fast adaptive boundary attack: along the decision boundary towards the image. No step size to tune.

Croce & Hein 2020 (arXiv:1907.02044), algorithm 1. With the boundary of the network made linear at x_i, d(x_i) and d(x)
the shortest moves to that hyperplane inside the box (`fab_projections`) from the present point and from the image:

    alpha   = min( ||d(x_i)|| / (||d(x_i)|| + ||d(x)||), alpha_max )
    x_{i+1} = clip( (1 - alpha) (x_i + eta d(x_i)) + alpha (x + eta d(x)) )
    if x_{i+1} is adversarial: it is kept if it is the nearest so far, and x_{i+1} = x + beta (x_{i+1} - x)

FAB takes the closest boundary of all at every step, which costs a backward pass for each class. FAB-T (AutoAttack,
arXiv:2003.01690) runs towards each of the likeliest wrong classes in turn, with one backward pass a step.

Two things are not as published. The point after the backward step is looked at too, as its logits come with its
gradient anyway. And where a verdict is wanted, not a distance, the backward step in linf also projects the point on the
ball: a point outside does not count, so the search goes on inside. In l2 and l1 the step is as published, since the
projection makes long searches there weaker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..threat.geometry import ball_of
from ..threat.norms import length
from ..threat.threat_model import Norm, ThreatModel
from .boundaries import Boundaries, closest, heights_and_normals, likeliest
from .fab_projections import onto_hyperplane
from .gradient import frozen, logits_of
from .nearest import Nearest

__all__ = ["fab"]

_NO_ZERO = 1e-8  # as published: two points on the hyperplane share alike


def fab(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    targeted: bool = False,
    targets: int = 9,
    steps: int = 100,
    restarts: int = 1,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    minimize: bool = False,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Search the nearest adversarial examples. See `Attack`.

    Args:
        targeted: FAB-T instead of FAB.
        targets: for FAB-T, how many wrong classes, likeliest first; at most K - 1 are used.
        steps: gradient steps a search, at least 1.
        restarts: searches (for each target); those after the first start at random.
        alpha_max: the most that the image itself draws, in [0, 1].
        eta: how far to go beyond the hyperplane, at least 1.
        beta: what the backward step leaves of a perturbation, in (0, 1).
        minimize: go on for the shortest perturbation in floating point; if false, an image is finished when it is
            broken inside the ball as an 8-bit image.

    Returns:
        The nearest adversarial point found, or the image itself.
    """
    if min(steps, restarts, targets) < 1 or not (0 <= alpha_max <= 1 <= eta < math.inf and 0 < beta < 1):
        raise RecipeError(
            "settings of fab out of range",
            expected="steps, restarts, targets >= 1, 0 <= alpha_max <= 1, a finite eta >= 1, 0 < beta < 1",
            got=f"{steps}, {restarts}, {targets}, alpha_max {alpha_max}, eta {eta}, beta {beta}",
        )
    with frozen(model):
        logits = logits_of(model, x, batch_size)
        active = threat.attacked(logits.argmax(1), y).nonzero().squeeze(1)
        nearest = Nearest(model, x, y, threat=threat, minimize=minimize, batch_size=batch_size)
        count = targets if targeted else logits.shape[1] - 1
        boundaries, classes = likeliest(logits, y, count, threat)
        search = _Search(
            model=model,
            x=x,
            y=y,
            threat=threat,
            boundaries=boundaries,
            nearest=nearest,
            steps=steps,
            step=_Step(norm=threat.norm, alpha_max=alpha_max, eta=eta),
            beta=beta,
            cut=threat.norm == "linf" and not minimize,
            batch_size=batch_size,
        )
        for goal in [goal.unsqueeze(1) for goal in classes.unbind(1)] if targeted else (classes,):
            for restart in range(restarts):
                if not len(active):
                    return nearest.points
                start = _random_start(x[active], nearest.lengths[active], threat, generator) if restart else x[active]
                active = search.walk(active, start, goal)
    return nearest.points


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """The module's equation."""

    norm: Norm
    alpha_max: float
    eta: float

    def __call__(self, x_adv: Tensor, x: Tensor, height: Tensor, w: Tensor) -> Tensor:
        """The next points; points and normals float [N, D], height f(x_adv) float [N]."""
        both = torch.stack((x_adv, x))
        moves = onto_hyperplane(both, w, torch.stack((height, height + ((x - x_adv) * w).sum(1))), self.norm)
        ours, theirs = length(moves, self.norm).clamp(min=_NO_ZERO)
        alpha = (ours / (ours + theirs)).clamp(max=self.alpha_max).unsqueeze(1)
        ours_there, theirs_there = both + self.eta * moves
        return torch.lerp(ours_there, theirs_there, alpha).clamp(0, 1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Search:
    """What all searches share; the settings are those of `fab`.

    Attributes:
        boundaries: heights and normals towards classes.
        nearest: what was found so far.
        cut: the backward step also projects on the ball.
    """

    model: Model
    x: Tensor
    y: Tensor
    threat: ThreatModel
    boundaries: Boundaries
    nearest: Nearest
    steps: int
    step: _Step
    beta: float
    cut: bool
    batch_size: int

    def walk(self, rows: Tensor, x_adv: Tensor, classes: Tensor) -> Tensor:
        """Algorithm 1 for the images `rows` from the points `x_adv` towards `classes`; the rows not finished."""
        ball = ball_of(self.threat)
        for _ in range(self.steps):
            logits, heights, normals = heights_and_normals(
                self.model,
                x_adv,
                self.y[rows],
                classes[rows],
                boundaries=self.boundaries,
                batch_size=self.batch_size,
            )
            _, done = self.nearest.offer(rows, x_adv, logits)
            if done.any():
                rows, x_adv, heights, normals = (part[~done] for part in (rows, x_adv, heights, normals))
            if not len(rows):
                break
            centre = self.x[rows]
            height, w = closest(heights, normals, self.threat.norm)
            x_adv = self.step(x_adv.flatten(1), centre.flatten(1), height, w).view_as(centre)
            fooled, done = self.nearest.offer(rows, x_adv, logits_of(self.model, x_adv, self.batch_size))
            shorter = centre + self.beta * (x_adv - centre)
            shorter = ball.project(shorter, centre) if self.cut else shorter
            x_adv = torch.where(fooled.view(-1, *[1] * (centre.ndim - 1)), shorter, x_adv)
            if done.any():
                rows, x_adv = rows[~done], x_adv[~done]
            if not len(rows):
                break
        return rows


def _random_start(x: Tensor, lengths: Tensor, threat: ThreatModel, generator: torch.Generator | None) -> Tensor:
    """Half as far from the image as the nearest adversarial point, at most half the radius, in a random direction."""
    device = x.device if generator is None else generator.device
    shape = x.flatten(1).shape
    if threat.norm == "linf":
        noise = 2 * torch.rand(shape, generator=generator, device=device, dtype=x.dtype) - 1
    else:
        noise = torch.randn(shape, generator=generator, device=device, dtype=x.dtype)
    noise = noise.to(x.device)
    radius = lengths.clamp(max=threat.epsilon) / 2 / length(noise, threat.norm)
    return (x + (radius.unsqueeze(1) * noise).view_as(x)).clamp(0, 1)
