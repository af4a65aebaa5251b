"""The boundaries that an attack may cross, as if the network were linear around a point.

Between the class y and another class c lies the boundary z_c - z_y = 0, with height f and normal w at the point,

    f = z_c(x) - z_y(x) < 0,     w = grad_x (z_c - z_y)(x)

(DeepFool, arXiv:1511.04599, section 3.2; FAB, arXiv:1907.02044, section 2). Where the threat model has a target t there
is one boundary, of the margin z_t - max_{k != t} z_k. One forward pass in all, one backward pass for each boundary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ....runtime.shapes import Float, Int64
from ..access import Model
from ..losses import objective, rivals
from ..threat.norms import dual_length
from ..threat.threat_model import Norm, ThreatModel
from .gradient import check_differentiable

__all__ = ["Boundaries", "closest", "heights_and_normals", "likeliest", "towards"]

Boundaries = Callable[[Float[Tensor, "n k"], Int64[Tensor, " n"], Int64[Tensor, "n j"]], Float[Tensor, "n j"]]
"""boundaries(logits, y, classes) -> heights."""


def likeliest(
    logits: Float[Tensor, "n k"], y: Int64[Tensor, " n"], count: int, threat: ThreatModel
) -> tuple[Boundaries, Int64[Tensor, "n j"]]:
    """The boundaries to the likeliest wrong classes, or to the threat model's target.

    Args:
        logits: what the model says to the images.
        y: the right classes.
        count: how many wrong classes, at least 1; at most K - 1 are taken.
        threat: its target, if any, is the one class aimed at.

    Returns:
        What gives the heights, and the classes that it takes, likeliest first.
    """
    if threat.target is None:
        return towards, rivals(logits, y).topk(min(count, logits.shape[1] - 1), dim=1).indices
    margin = objective("margin", threat)
    return lambda logits, y, _: margin(logits, y).unsqueeze(1), torch.full_like(y, threat.target).unsqueeze(1)


def towards(
    logits: Float[Tensor, "n k"], y: Int64[Tensor, " n"], classes: Int64[Tensor, "n j"]
) -> Float[Tensor, "n j"]:
    """The heights z_c - z_y over the classes c."""
    return logits.gather(1, classes) - logits.gather(1, y.unsqueeze(1))


def heights_and_normals(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    classes: Int64[Tensor, "n j"],
    *,
    boundaries: Boundaries,
    batch_size: int,
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n j"], Float[Tensor, "n j d"]]:
    """Where the boundaries are.

    Args:
        model: differentiable.
        x: points in [0, 1].
        y: the right classes.
        classes: what the boundaries are taken to, J for each image.
        boundaries: see `likeliest`.
        batch_size: images a pass.

    Returns:
        Logits, heights and normals (D = C H W), all detached.

    Raises:
        ModelError: the logits do not depend on the image in a way autograd can follow.
    """
    parts = []
    for start in range(0, len(x), batch_size):
        stop = start + batch_size
        image = x[start:stop].detach().requires_grad_()
        with torch.enable_grad():
            logits = model(image)
            # Half precision, as under autocast, would lose the differences.
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            heights = boundaries(logits, y[start:stop], classes[start:stop])
            sums = heights.sum(0).unbind()
        check_differentiable(heights)
        normals = [
            torch.autograd.grad(total, image, retain_graph=index + 1 < len(sums))[0].flatten(1)
            for index, total in enumerate(sums)
        ]
        parts.append((logits.detach(), heights.detach(), torch.stack(normals, 1)))
    if len(parts) == 1:
        return parts[0]
    logits, heights, stacked = (torch.cat(column) for column in zip(*parts, strict=True))
    return logits, heights, stacked


def closest(
    heights: Float[Tensor, "n j"], normals: Float[Tensor, "n j d"], norm: Norm
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n d"]]:
    """The height and the normal of each image's closest boundary, |f| / ||w||_q away."""
    if heights.shape[1] == 1:
        return heights[:, 0], normals[:, 0]
    distance = heights.abs() / dual_length(normals, norm).clamp(min=torch.finfo(heights.dtype).tiny)
    rows, nearest = torch.arange(len(heights), device=heights.device), distance.argmin(1)
    return heights[rows, nearest], normals[rows, nearest]
