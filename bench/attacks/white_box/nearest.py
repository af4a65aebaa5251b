"""What a search for the nearest adversarial point remembers: for each image the shortest perturbation inside the ball.

Such a search has two uses. For a verdict, an image is finished with the first point inside the ball that fools the
model as an 8-bit image (see `stopping`). For a distance (`minimize`), the search goes on for the shortest perturbation,
in floating point as published.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ....runtime.shapes import Bool, Float, Int64
from ..access import Model
from ..threat.norms import length
from ..threat.threat_model import ThreatModel
from .stopping import broken

__all__ = ["Nearest"]

_SLACK = 1e-5
"""Share of the radius: float32 puts a point of the sphere a rounding error off. The verdict rounds into the ball."""


class Nearest:
    """The best points so far.

    Args:
        model: is asked whether a point breaks an image.
        x: the original 8-bit images divided by 255.
        y: the right classes.
        threat: the ball that a point must be in.
        minimize: see above.
        batch_size: images a pass.

    Attributes:
        points: float [N, C, H, W], the originals where nothing was found.
        lengths: float [N], of the perturbations; infinite where nothing was found.
    """

    def __init__(
        self,
        model: Model,
        x: Float[Tensor, "n c h w"],
        y: Int64[Tensor, " n"],
        *,
        threat: ThreatModel,
        minimize: bool,
        batch_size: int,
    ) -> None:
        self.points = x.clone()
        self.lengths = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        self._model, self._x, self._y = model, x, y
        self._threat, self._minimize, self._batch_size = threat, minimize, batch_size

    def offer(
        self,
        rows: Int64[Tensor, " m"],
        x_adv: Float[Tensor, "m c h w"],
        logits: Float[Tensor, "m k"],
        *,
        enough: Bool[Tensor, " m"] | None = None,
    ) -> tuple[Bool[Tensor, " m"], Bool[Tensor, " m"]]:
        """Look at the points that a search has come to.

        Args:
            rows: which images the points belong to.
            x_adv: the points, in [0, 1].
            logits: what the model says to them.
            enough: a point counts only where true; everywhere if not given.

        Returns:
            Which points fool the model, in the ball or not; and which images are finished.
        """
        x, y = self._x[rows], self._y[rows]
        fooled: Tensor = self._threat.fooled(logits.argmax(1), y)
        if enough is not None:
            fooled = fooled & enough
        lengths = length((x_adv - x).flatten(1), self._threat.norm)
        shorter = fooled & (lengths <= self._threat.epsilon) & (lengths < self.lengths[rows])
        finished = torch.zeros_like(fooled)
        nearby = fooled & (lengths <= self._threat.epsilon * (1 + _SLACK))
        if not self._minimize and (where := nearby.nonzero().squeeze(1)).numel():
            finished[where] = broken(
                self._model,
                logits[where],
                x_adv[where],
                x[where],
                y[where],
                threat=self._threat,
                batch_size=self._batch_size,
            )
        kept = shorter | finished
        self.points[rows[kept]] = x_adv[kept]
        self.lengths[rows[kept]] = lengths[kept]
        return fooled, finished
