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

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from ..files.onnx_file import OnnxFile
from ..shapes import Float32, Shaped

__all__ = ["OnnxRuntimeBackend", "session_options"]

_LOG_ERRORS_ONLY = 3
_INPUT_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_OUTPUT_TYPES = ("tensor(float)", "tensor(double)", "tensor(float16)")
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
    """A classifier in an ONNX file, as a `protocol.Backend`: one input [N, C, H, W], one output [N, K].

    Args:
        graph: the ONNX file, read; its bytes are what runs.
        threads, optimize: as for `session_options`.

    Raises:
        InputError: `threads` out of range.
        ModelError: no valid ONNX, or no image classifier with fixed channels, height and width.
    """

    def __init__(self, graph: OnnxFile, *, threads: int | None = None, optimize: bool = True) -> None:
        self._path = graph.path
        self._session = _open(graph, threads=threads, optimize=optimize)
        self._input, self._output = self._only("input"), self._only("output")
        self._input_dtype, self._batch, self._shape = self._read_input()
        self._classes = self._read_output() or self._count_classes()

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
        logits = self._run(images)
        if logits.shape != (len(images), self._classes):
            raise self._no_logits(f"[{len(images)}, {self._classes}]", logits)
        return logits

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        try:
            (logits,) = self._session.run([self._output.name], {self._input.name: images})
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise ModelError(f"{self._path}: ONNX Runtime cannot run the graph", got=_first_line(error)) from None
        return np.asarray(logits, np.float32)

    def _no_logits(self, expected: str, got: NDArray[Any]) -> ModelError:
        return ModelError(f"{self._path}: output", expected=f"{expected} logits", got=str(list(got.shape)))

    def _only(self, side: str) -> Any:
        nodes = self._session.get_inputs() if side == "input" else self._session.get_outputs()
        if len(nodes) != 1:
            names = ", ".join(node.name for node in nodes) or "none"
            raise ModelError(f"{self._path}: {side}s", expected=f"one {side}", got=names)
        return nodes[0]

    def _read_input(self) -> tuple[str, int | None, tuple[int, int, int]]:
        what = f"{self._path}: input {self._input.name!r}"
        if self._input.type not in _INPUT_DTYPES:
            raise ModelError(what, expected=" or ".join(_INPUT_DTYPES), got=self._input.type)
        sizes = [_fixed(size) for size in self._input.shape]
        if len(sizes) != 4 or None in sizes[1:]:
            raise ModelError(
                what,
                expected="[N, C, H, W] with fixed C, H and W",
                got=str(self._input.shape),
                fix="python -m onnxruntime.tools.make_dynamic_shape_fixed",
            )
        batch, channels, height, width = sizes
        return _INPUT_DTYPES[self._input.type], batch, (channels or 0, height or 0, width or 0)

    def _read_output(self) -> int | None:
        """K; None where the file does not say."""
        what = f"{self._path}: output {self._output.name!r}"
        if self._output.type not in _OUTPUT_TYPES:
            raise ModelError(what, expected="float logits", got=self._output.type)
        sizes = [_fixed(size) for size in self._output.shape]
        return sizes[1] if len(sizes) == 2 else None

    def _count_classes(self) -> int:
        """K of one black image."""
        black = np.zeros((self._batch or 1, *self._shape), self._input_dtype)
        logits = self._run(black)
        if logits.ndim != 2 or len(logits) != len(black) or not logits.shape[1]:
            raise self._no_logits(f"[{len(black)}, K]", logits)
        return int(logits.shape[1])


def _open(graph: OnnxFile, *, threads: int | None, optimize: bool) -> Any:
    options = session_options(threads=threads, optimize=optimize)
    content = graph.whole()
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ModelError(f"{graph.path}: ONNX Runtime cannot load the file", got=_first_line(error)) from None
    session._model_bytes = None  # kept to open it again on another provider: the graph's size in memory, for nothing
    return session


def _fixed(size: object) -> int | None:
    """A dimension's size; None where it is symbolic, unknown or 0."""
    return size if isinstance(size, int) and size > 0 else None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
