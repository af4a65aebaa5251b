"""What a compression method may use, in addition to the network and its settings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...bench.data.dataset import Part
from ...runtime.progress import ProgressCallback, silent

__all__ = ["Context"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The same for every step of a recipe. A method takes what it needs; the test images are never part of it.

    One that looks at weights alone reads the shape and the check images. `calibration`, `train`, `seed`, `device` and
    `progress` are for methods that train or calibrate.

    Attributes:
        input_shape: (C, H, W).
        check_images: float [N, C, H, W] in [0, 1], N >= 1, on which a method proves its result; None: random ones.
        calibration: images that statistics of activations may be taken from; None where there are none.
        train: images to learn from, for methods that train; None where there are none.
        seed: every random number of a method comes from it.
        device: "cpu" or "cuda": where a method computes; the module comes back where it was.
        progress: told how far a method is.
    """

    input_shape: tuple[int, int, int]
    check_images: Tensor | None = None
    calibration: Part | None = None
    train: Part | None = None
    seed: int = 0
    device: str = "cpu"
    progress: ProgressCallback = silent
