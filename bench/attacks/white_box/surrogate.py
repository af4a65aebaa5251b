"""Ascent on a smooth network near the attacked one, for those whose loss has plateaus and whose gradients mislead.

    m_{t+1} = mu m_t + grad l(g(x_t + u_t), y) / ||.||_1,    x_{t+1} = Proj_B( x_t + alpha_t steepest(m_{t+1}) )

with u_t uniform in a ball of `noise` epsilon, drawn anew each step, and alpha_t falling from epsilon / 2 to 0. g is
f with every step, choice and saturation smoothed in both passes (`export/twin/surrogates.py`) and clamps that leak;
after each step f itself is asked whether the 8-bit image breaks it. So g may lie: it only has to point somewhere.

Momentum: Dong et al. 2018 (arXiv:1710.06081, eq. 6). Noise: the gradient of g averaged over a neighbourhood (Smilkov et
al. 2017, arXiv:1706.03825), one point a step, since the momentum takes the mean. A replaced network: Tramer et al. 2020
(arXiv:2002.08347, section 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ....export.twin.gradients import leaking
from ....export.twin.surrogates import Passes, smoothing
from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..losses import objective
from ..threat.geometry import Ball, ball_of
from ..threat.threat_model import ThreatModel
from .gradient import frozen, logits_and_gradient, logits_of

__all__ = ["surrogate"]

_MOMENTUM = 0.75


def surrogate(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    passes: Passes = "both",
    leak: float = 0.05,
    noise: float = 0.0,
    steps: int = 50,
    restarts: int = 1,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Momentum ascent on the margin of a smoother network. See `Attack`.

    Args:
        passes: what is smoothed, see `smoothing`.
        leak: share of the gradient that passes a closed clamp, in [0, 1].
        noise: radius of u, in epsilons.
        steps, restarts: gradient steps a search, searches from new random points; at least 1.
    """
    if steps < 1 or restarts < 1 or not 0 <= leak <= 1 or not noise >= 0:
        raise RecipeError(
            "settings of surrogate out of range",
            expected="steps >= 1, restarts >= 1, leak in [0, 1], noise >= 0",
            got=f"steps {steps}, restarts {restarts}, leak {leak}, noise {noise}",
        )
    ball, loss, result = ball_of(threat), objective("margin", threat), x.clone()

    def smooth(images: Tensor) -> Tensor:
        with smoothing(passes), leaking(leak):
            return model(images)

    with frozen(model):
        active = threat.attacked(logits_of(model, x, batch_size).argmax(1), y).nonzero().squeeze(1)
        for _ in range(restarts):
            at = ball.random_start(x[active], generator)
            mean = torch.zeros_like(at)
            for step in range(steps):
                if not len(active):
                    return result
                near = _near(ball, at, noise, generator)
                grad = logits_and_gradient(smooth, near, (y[active],), loss, batch_size)[2].nan_to_num(0.0, 0.0, 0.0)
                size = grad.abs().flatten(1).mean(1).clamp(min=torch.finfo(grad.dtype).tiny)
                mean = _MOMENTUM * mean + grad / size.view(-1, *[1] * (grad.ndim - 1))
                at = ball.project(ball.step(at, mean, threat.epsilon / 2 * (1 - step / steps)), x[active])
                pixels = ball.to_pixels(at, (x[active] * 255).round().byte()).to(x.dtype) / 255
                done = threat.fooled(logits_of(model, pixels, batch_size).argmax(1), y[active])
                result[active] = pixels
                active, at, mean = active[~done], at[~done], mean[~done]
    return result


def _near(ball: Ball, at: Tensor, noise: float, generator: torch.Generator | None) -> Tensor:
    """Points around `at`, mirrored into [0, 1]."""
    if not noise:
        return at
    middle = torch.full_like(at, 0.5)
    moved = at + noise * (ball.random_start(middle, generator) - middle)
    return 1 - (1 - moved.abs()).abs()
