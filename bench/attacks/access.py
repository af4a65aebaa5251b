"""What an attacker may ask, and what an attack is.

    white-box   `Attack`: differentiates a `Model`, and hands back points in [0, 1]
    black-box   `BlackBoxAttack`: asks for `Scores` of 8-bit images, and hands back 8-bit images

Every attack is a function with one of these two signatures, and keyword-only settings of its own after them. The
catalogue gives it a name (`catalogue.ATTACKS`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.progress import ProgressCallback
from ...runtime.shapes import Float, Float32, Int64, UInt8
from .result import AttackResult
from .threat.threat_model import ThreatModel

__all__ = ["Attack", "BlackBoxAttack", "Labels", "Model", "Pixels", "Scores"]

Model = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n k"]]
"""Images [N, C, H, W] in [0, 1] -> logits [N, K]."""

Pixels = UInt8[NDArray[np.uint8], "n c h w"]
"""8-bit images [N, C, H, W]."""

Labels = Int64[NDArray[np.int64], " n"]
"""Classes [N]."""

Scores = Callable[[Pixels], Float32[NDArray[np.float32], "n k"]]
"""8-bit images [N, C, H, W] -> logits [N, K]."""


class Attack(Protocol):
    """A white-box attack, its own settings given."""

    def __call__(
        self,
        model: Model,
        x: Float[Tensor, "n c h w"],
        y: Int64[Tensor, " n"],
        *,
        threat: ThreatModel,
        generator: torch.Generator | None = None,
        batch_size: int = 128,
    ) -> Float[Tensor, "n c h w"]:
        """Search adversarial points.

        Args:
            model: differentiable; a module is held in evaluation mode meanwhile (`gradient.frozen`).
            x: 8-bit images divided by 255.
            y: the right classes. Where there is nothing to do, an image comes back as it is: the model gets it wrong
                already, or it is of the threat model's target.
            threat: the ball to stay in, and whether any wrong class will do or one target.
            generator: makes random starts, and so the result, reproducible; on its device they are drawn.
            batch_size: images a pass; bounds the memory, never the result.

        Returns:
            Points in the ball: one that breaks the image where the search found one.

        Raises:
            RecipeError: settings out of range, or a threat model that the attack cannot search.
            ModelError: the model has no gradient, too few classes for the loss, or no such class as the target.
        """


class BlackBoxAttack(Protocol):
    """A black-box attack, its own settings given."""

    def __call__(
        self,
        scores: Scores,
        images: Pixels,
        labels: Labels,
        *,
        threat: ThreatModel,
        queries: int = 5000,
        seed: int = 0,
        progress: ProgressCallback = ...,
    ) -> AttackResult:
        """Search adversarial images.

        Args:
            scores: the engine; images that are still searched are put to it together.
            images: 8-bit images.
            labels: the right classes. Images that the engine gets wrong already, and those of the threat model's
                target, come back as they are.
            threat: the ball that a result lies in, and whether any wrong class will do or one target.
            queries: the most that one image may take, at least one step's.
            seed: makes the search reproducible.
            progress: told now and then.

        Raises:
            RecipeError: settings out of range, or a threat model that the attack cannot search.
            ModelError: the target is no class of the engine.
        """
