"""DeepFool: step to the closest boundary of the linearized classifier until the class changes. A quick upper bound.

Moosavi-Dezfooli et al. 2016 (arXiv:1511.04599), algorithm 2 and section 3.3: with f_k and w_k the height and the normal
of the boundary to class k at x_i (see `boundaries`), and q dual to the norm,

    l = argmin_k |f_k| / ||w_k||_q
    r_i = (|f_l| / ||w_l||_2 + 1e-4) w_l / ||w_l||_2  (l2),     (|f_l| / ||w_l||_1 + 1e-4) sign(w_l)  (linf)
    x_{i+1} = clip( x + (1 + overshoot) sum_{j <= i} r_j )

With the overshoot inside the loop and the 1e-4, as in the published code, and clipped to images, which the paper leaves
open. Of an image with many black pixels the clip takes more of each step than the overshoot adds, and the height would
shrink for ever without the 1e-4. A step to the hyperplane inside the box (`fab_projections`) would get there at once,
but it goes too far where the network bends on the way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..threat.norms import dual_length, length
from ..threat.threat_model import ThreatModel
from .boundaries import closest, heights_and_normals, likeliest
from .gradient import frozen, logits_of
from .nearest import Nearest

__all__ = ["deepfool"]

_BEYOND = 1e-4  # as published, in units of pixel values
_FAR = 1e30  # keeps steps along a slope of next to nothing finite


def deepfool(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 9,
    minimize: bool = False,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Search near adversarial examples in linf or l2. See `Attack`; nothing is random, so `generator` is not used.

    Args:
        steps: at most, at least 1.
        overshoot: how far to go beyond a boundary, as a share of the perturbation, >= 0.
        candidates: how many wrong classes, the likeliest of the image itself; at most K - 1 are used. One backward pass
            a step each.
        minimize: an image is finished with the first point that fools the model, as published; if false, it goes on
            until it is broken inside the ball as an 8-bit image, or outside.

    Returns:
        The adversarial point found, or the image itself.
    """
    if threat.norm == "l1":
        raise RecipeError(
            "deepfool has no useful l1 form: it would move one pixel far out of the box",
            expected="a threat model in linf or l2",
            got=str(threat),
            fix="use fab, which knows linf, l2 and l1",
        )
    if min(steps, candidates) < 1 or not 0 <= overshoot < math.inf:
        raise RecipeError(
            "settings of deepfool out of range",
            expected="steps, candidates >= 1, a finite overshoot >= 0",
            got=f"{steps}, {candidates}, overshoot {overshoot}",
        )
    with frozen(model):
        logits = logits_of(model, x, batch_size)
        rows = threat.attacked(logits.argmax(1), y).nonzero().squeeze(1)
        nearest = Nearest(model, x, y, threat=threat, minimize=minimize, batch_size=batch_size)
        boundaries, classes = likeliest(logits, y, candidates, threat)
        x_adv = x[rows]
        moved = torch.zeros_like(x_adv).flatten(1)
        for _ in range(steps):
            if not len(rows):
                break
            _, heights, normals = heights_and_normals(
                model, x_adv, y[rows], classes[rows], boundaries=boundaries, batch_size=batch_size
            )
            moved = moved + _to_boundary(*closest(heights, normals, threat.norm), threat)
            centre = x[rows]
            x_adv = (centre + (1 + overshoot) * moved.view_as(centre)).clamp(0, 1)
            fooled, done = nearest.offer(rows, x_adv, logits_of(model, x_adv, batch_size))
            outside = length((x_adv - centre).flatten(1), threat.norm) > threat.epsilon
            left = ~(done | (fooled & (outside | minimize)))
            rows, x_adv, moved = rows[left], x_adv[left], moved[left]
    return nearest.points


def _to_boundary(height: Tensor, w: Tensor, threat: ThreatModel) -> Tensor:
    """r_i, float [N, D], from the height f [N] and the normal w [N, D]; where w is zero, no move."""
    # Divided by the largest entry first: squares of a saturated network's gradients would underflow to zero.
    scale = w.abs().amax(1, keepdim=True)
    scale = torch.where(scale > 0, scale, 1)
    w, height = w / scale, (height.abs().unsqueeze(1) / scale).clamp(max=_FAR)
    size = dual_length(w, threat.norm).unsqueeze(1).clamp(min=1)
    return (height / size + _BEYOND) * (w.sign() if threat.norm == "linf" else w / size)
