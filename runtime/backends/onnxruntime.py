"""The backend that every machine has: ONNX Runtime on the CPU.

Rule: the session is built once and only read after; ONNX Runtime allows concurrent `run` calls on one session. Its
exceptions never get out: a graph that it refuses is a ModelError.

No optimization may change what is computed. Recent versions (microsoft/onnxruntime, pull requests 27614 and 27769) turn
a MatMul or Gemm of float activations and dequantized int8 weights into MatMulNBits with accuracy level 4, which
quantizes the activations once more, 32 at a time. Level 1 keeps that kernel in float32. Every session on
a graph of ours is opened with `session_options`, so that all compute one function.

The import of `onnxruntime` below is absolute: it is the package, not this module.

int8 activations (the graphs made for TensorRT) run in integer kernels here too: on x86 ONNX Runtime leaves that off.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from ..shapes import Float32, Shaped
from .image_classifier import as_logits, counted_classes, declared_classes, only_input, only_output, read_image_input

__all__ = ["OnnxRuntimeBackend", "session_options"]

_LOG_ERRORS_ONLY = 3
_MOST_THREADS = 8192
"""Processors that Linux can have (NR_CPUS)."""


def session_options(*, threads: int | None = None, optimize: bool = True) -> Any:
    """The `onnxruntime.SessionOptions` that every session of this package runs with.

    Args:
        threads: threads within an operator, 1 to 8192; None lets ONNX Runtime take every core.
        optimize: False runs the graph node for node as it is written, without any fusion (the reference for parity
            proofs).

    Raises:
        InputError: `threads` out of range.
    """
    if threads is not None and not (isinstance(threads, (int, np.integer)) and 1 <= threads <= _MOST_THREADS):
        expected = f"an integer from 1 to {_MOST_THREADS}, or None for every core"
        raise InputError("threads", expected=expected, got=repr(threads))
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_ERRORS_ONLY
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    if threads is not None:
        options.intra_op_num_threads = int(threads)
    return options


class OnnxRuntimeBackend:
    """A classifier in an ONNX file, as a `protocol.Backend`: one input [N, C, H, W], one output [N, K],
    axes of size 1 behind it aside (`image_classifier.py`).

    Args:
        path: the ONNX file.
        threads, optimize: as for `session_options`.

    Raises:
        InputError: `threads` out of range.
        ModelError: no file, no valid ONNX, or no image classifier with fixed channels, height and width.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None, optimize: bool = True) -> None:
        self._path = Path(path)
        self._session = _open(self._path, threads=threads, optimize=optimize)
        origin = str(self._path)
        self._input = only_input(self._session.get_inputs(), origin=origin)
        self._input_dtype, self._batch, self._shape = read_image_input(self._input, origin=origin)
        self._output = only_output(self._session.get_outputs(), origin=origin)
        self._logits = f"{self._path}: output {self._output.name!r}"
        self._classes = declared_classes(self._output.shape) or self._count_classes()

    @property
    def name(self) -> str:
        return "onnxruntime"

    @property
    def input_name(self) -> str:
        return str(self._input.name)

    @property
    def output_name(self) -> str:
        return str(self._output.name)

    @property
    def input_dtype(self) -> str:
        return self._input_dtype

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self._shape

    @property
    def batch(self) -> int | None:
        return self._batch

    @property
    def classes(self) -> int:
        return self._classes

    def run(self, images: Shaped[NDArray[Any], "n c h w"]) -> Float32[NDArray[np.float32], "n k"]:
        """Logits [N, K] of images [N, C, H, W] of type `input_dtype`; N is `batch` where that is fixed.

        Raises:
            ModelError: ONNX Runtime failed, or gave no [N, K]: what a graph declares, or gave for another image, need
                not hold.
        """
        return as_logits(self._run(images), batch=len(images), classes=self._classes, origin=self._logits)

    def _run(self, images: NDArray[Any]) -> NDArray[Any]:
        try:
            (result,) = self._session.run([self._output.name], {self._input.name: images})
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise ModelError(f"{self._path}: ONNX Runtime cannot run the graph", got=_first_line(error)) from None
        return np.asarray(result)

    def _count_classes(self) -> int:
        """K of one black image."""
        black = np.zeros((self._batch or 1, *self._shape), self._input_dtype)
        return counted_classes(self._run(black).shape, batch=len(black), origin=self._logits)


def _open(path: Path, *, threads: int | None, optimize: bool) -> Any:
    # unlike Path.is_file, os.path.isfile says no to a name that no system can hold
    if not os.path.isfile(path):  # noqa: PTH113
        got = "a folder" if os.path.isdir(path) else "nothing"  # noqa: PTH112
        raise ModelError(f"{path}: no such model", expected="an ONNX file", got=got)
    options = session_options(threads=threads, optimize=optimize)
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ModelError(f"{path}: ONNX Runtime cannot load the file", got=_first_line(error)) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
