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

from ..errors import ModelError, first_line
from ..files.onnx_file import OnnxFile
from .classifier_backend import ClassifierBackend, checked_content, most_threads

__all__ = ["OnnxRuntimeBackend", "open_session", "session_options"]

_LOG_NOTHING = 4


def session_options(*, threads: int | None = None, optimize: bool = True) -> Any:
    """The `onnxruntime.SessionOptions` that every session of this package runs with.

    Args:
        threads: threads within an operator, 1 or more, of which no more than this machine has cores are taken; None
            lets ONNX Runtime take every core.
        optimize: False runs the graph node for node as it is written, without any fusion (the reference for parity
            proofs).

    Raises:
        InputError: `threads` below 1, or no integer.
    """
    most = most_threads(threads)
    options = ort.SessionOptions()
    # what it logs has the file's own names in it; its exceptions say the same, and come out of here as one line
    options.log_severity_level = _LOG_NOTHING
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # else the bytes may say that they are others
    if most is not None:
        options.intra_op_num_threads = most
    return options


def open_session(content: bytes, options: Any, **more: Any) -> Any:
    """An `onnxruntime.InferenceSession` on the processor, which prints nothing by itself.

    Args:
        content: an ONNX file that was checked (`check_graph`), with every weight inside.
        options: of `session_options`.
        more: for the session.

    Raises:
        Exception: ONNX Runtime refuses the file; its exceptions share no base class of their own.
    """
    # its fallback to the very same provider would first print the exception
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0, **more)


class OnnxRuntimeBackend(ClassifierBackend):
    """A classifier in an ONNX file, as a `protocol.Backend`.

    Args:
        graph: the ONNX file, read; its bytes are what runs.
        threads, optimize: as for `session_options`.

    Raises:
        InputError: `threads` out of range.
        ModelError: no valid ONNX, or no image classifier with fixed channels, height and width.
    """

    name = "onnxruntime"

    def __init__(self, graph: OnnxFile, *, threads: int | None = None, optimize: bool = True) -> None:
        self._session = _open(graph, threads=threads, optimize=optimize)
        super().__init__(str(graph.path), self._session.get_inputs(), self._session.get_outputs())

    def _run(self, images: NDArray[Any]) -> NDArray[Any]:
        try:
            (result,) = self._session.run([self._output_name], {self._input_name: images})
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise ModelError(f"{self._origin}: ONNX Runtime cannot run the graph", got=first_line(error)) from None
        return np.asarray(result)


def _open(graph: OnnxFile, *, threads: int | None, optimize: bool) -> Any:
    options = session_options(threads=threads, optimize=optimize)
    content = checked_content(graph)
    try:
        session = open_session(content, options)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ModelError(f"{graph.path}: ONNX Runtime cannot load the file", got=first_line(error)) from None
    session._model_bytes = None  # kept to open it again on another provider: the graph's size in memory, for nothing
    return session
