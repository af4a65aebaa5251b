"""When a search may stop: what a camera can deliver fools the model.

    broken(x') = argmax f( to_pixels(x') / 255 ) is a wrong class, or the threat model's target

A point that fools a model in float32 by a hair often stops doing so when it is rounded to 8-bit levels: a search that
stopped at the first such point would throw the image away. So a fooling point is rounded, inside the ball, and asked
for again; only the images concerned pay for it. Ties between logits go to the class with the lower index, as in the
engines.
"""

from __future__ import annotations

from torch import Tensor

from ..access import Model
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel
from .gradient import logits_of

__all__ = ["broken"]


def broken(
    model: Model, logits: Tensor, x_adv: Tensor, x: Tensor, y: Tensor, *, threat: ThreatModel, batch_size: int
) -> Tensor:
    """Which images are broken for good, bool [N].

    Args:
        model: see `gradient.Model`.
        logits: what it said to x_adv, float [N, K].
        x_adv: float [N, C, H, W] in [0, 1], the search's present points.
        x: float [N, C, H, W], the original 8-bit images divided by 255.
        y: int64 [N], the right classes.
        threat: the ball around x.
        batch_size: images a pass.
    """
    fooled: Tensor = threat.fooled(logits.argmax(1), y)
    where = fooled.nonzero().squeeze(1)
    if len(where):
        pixels = ball_of(threat).to_pixels(x_adv[where], (x[where] * 255).round().byte())
        predictions = logits_of(model, pixels.to(x.dtype) / 255, batch_size).argmax(1)
        fooled[where] = threat.fooled(predictions, y[where])
    return fooled
