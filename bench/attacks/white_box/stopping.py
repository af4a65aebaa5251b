"""When a search may stop: what a camera can deliver fools the model.

    broken(x') = argmax f( to_pixels(x') / 255 ) is a wrong class, or the threat model's target

A point that just fools a model in float32 often does not once it is rounded to 8-bit levels, and a search that stopped
there would lose the image. So the search rounds a fooling point, inside the ball, and asks the model again, for these
images alone. Ties between logits go to the class with the lower index, as in the engines.
"""

from __future__ import annotations

from torch import Tensor

from ....runtime.shapes import Bool, Float, Int64
from ..access import Model
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel
from .gradient import logits_of

__all__ = ["broken"]


def broken(
    model: Model,
    logits: Float[Tensor, "n k"],
    x_adv: Float[Tensor, "n c h w"],
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    batch_size: int,
) -> Bool[Tensor, " n"]:
    """Which images are broken for good.

    Args:
        model: answers once more for the points that fool it.
        logits: what it said to x_adv.
        x_adv: the search's present points, in [0, 1].
        x: the original 8-bit images divided by 255.
        y: the right classes.
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
