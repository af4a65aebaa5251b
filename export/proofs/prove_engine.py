"""Proof of a graph on one engine: the kernels that run it, and twin against engine.

Rule: on ONNX Runtime activations are compared too, and the graph node for node; on any other engine the logits of the
very graph that ships, because an engine that exposes its activations fuses other kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ...runtime.progress import ProgressCallback, silent
from ...runtime.shapes import UInt8
from ..twin.twin import Twin
from .executed_kernels import KernelReport, inspect_kernels
from .logits_parity import compare_logits
from .openvino_kernels import inspect_openvino_kernels
from .parity import ParityReport, check_parity

__all__ = ["prove_engine"]


def prove_engine(
    backend: str,
    engine: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]],
    model: onnx.ModelProto,
    images: UInt8[npt.NDArray[np.uint8], "n c h w"],
    *,
    twin: Twin,
    progress: ProgressCallback = silent,
) -> tuple[KernelReport, ParityReport]:
    """Prove `model` on an engine of this processor.

    Args:
        backend: "onnxruntime" or "openvino".
        engine: uint8 [N, C, H, W] -> logits [N, K], of that backend.
        model: the graph that it runs.
        images: uint8 [N, C, H, W].
        twin: of `model`.

    Raises:
        ModelError: the backend refuses the graph.
    """
    if backend == "onnxruntime":
        return inspect_kernels(model), check_parity(model, images, twin=twin, progress=progress)
    return inspect_openvino_kernels(model), compare_logits(engine, twin, images, progress=progress)
