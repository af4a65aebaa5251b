"""The twin's logits against those of any engine, bit for bit: the very graph that ships, with nothing exposed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...runtime.progress import ProgressCallback, silent
from ...runtime.shapes import Float32, UInt8
from ..twin.twin import Twin
from .parity import ParityReport, on_device

__all__ = ["compare_logits"]

_BATCH = 128


def compare_logits(
    engine: Callable[[npt.NDArray[Any]], Float32[npt.NDArray[np.float32], "n k"]],
    twin: Twin,
    images: UInt8[npt.NDArray[np.uint8], "n c h w"],
    *,
    progress: ProgressCallback = silent,
) -> ParityReport:
    """Compare twin and engine on `images`.

    Args:
        engine: uint8 [N, C, H, W] -> logits [N, K]; an `Engine`.
        twin: of the graph that it runs.
        images: uint8 [N, C, H, W].

    Returns:
        A report without activations: an engine that exposed them would be another one.

    Raises:
        ModelError: the engine cannot run the graph.
    """
    logits = wrong = 0
    for start in range(0, len(images), _BATCH):
        pixels = images[start : start + _BATCH]
        with torch.no_grad():
            mine = twin(on_device(twin, pixels)).cpu().numpy()
        differ = engine(pixels) != mine.reshape(len(pixels), -1)
        logits, wrong = logits + int(differ.sum()), wrong + int(differ.any(1).sum())
        progress("parity", min(start + _BATCH, len(images)), len(images), f"{logits} logits differ")
    return ParityReport(
        images=len(images),
        engine_logits=logits,
        engine_images=wrong,
        unoptimized_logits=0,
        exposed_logits=0,
        activations=(),
    )
