"""What a compression method may use, in addition to the network and its settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ...bench.data.dataset import Part
from ..recipe.adversary import Adversary
from ..recipe.training import FineTuning
from ..train.training_context import TrainingContext

__all__ = ["Context"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The same for every step of a recipe. A method takes what it needs; the test images are never part of it.

    One that looks at weights alone reads the shape and the check images; the rest is for methods that train or
    calibrate.

    Attributes:
        input_shape: (C, H, W).
        check_images: float [N, C, H, W] in [0, 1], N >= 1, on which a method proves its result; None: random ones.
        calibration: images that statistics of activations may be taken from; None where there are none.
        train: images to learn from; None in a rehearsal, in which a method finds out what it can without training:
            whether its settings fit the network.
        heldout: images to choose an epoch by; None where there are none.
        finetune: how a method trains.
        adversary: what it trains against; None in a standard build.
        training: seed, device, progress and checkpoints.
        step: number of the recipe's step, from 1.
    """

    input_shape: tuple[int, int, int]
    check_images: Tensor | None = None
    calibration: Part | None = None
    train: Part | None = None
    heldout: Part | None = None
    finetune: FineTuning = field(default_factory=FineTuning)
    adversary: Adversary | None = None
    training: TrainingContext = field(default_factory=TrainingContext)
    step: int = 1

    def stage(self, what: str) -> str:
        """The name of a stage of training within the step: its random numbers and its checkpoint hang on it."""
        return f"compress {self.step}: {what}"
