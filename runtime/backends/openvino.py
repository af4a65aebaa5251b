"""OpenVINO on the processor: the extra `openvino`.

Rule: the file is compiled once, with its batch as open as the graph has it (a fixed one is no faster), and only read
after. Every call takes an inference request that no other call uses. Exceptions never get out: a graph that
OpenVINO refuses is a ModelError.

No setting may change what is computed. By default OpenVINO takes bfloat16 for what is float where the processor has it
(and refuses some integer graphs there), and quantizes the activations of a matrix product with integer weights once
more, 32 at a time: float32 and a group of 0 keep both off. Threads are not bound to cores, because two processes would
sit on the same ones. Nothing is written to the disk.

The import of `openvino` below is absolute: it is the package, not this module. It is imported when a graph is opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, ModelError
from ..files.onnx_file import OnnxFile
from .classifier_backend import ClassifierBackend, checked_content, most_threads

__all__ = ["OpenVinoBackend", "compile_graph"]

_SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    "INFERENCE_PRECISION_HINT": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "ENABLE_CPU_PINNING": "NO",
    "CACHE_DIR": "",
}
_TYPES = {"f16": "float16", "f32": "float", "f64": "double", "u8": "uint8", "boolean": "bool"}
"""Element types whose names in ONNX Runtime are others; whole numbers are "i64" here and "int64" there."""
_PLACES = ("Exception from", "Check '", "FrontEnd API failed")
"""Lines of an exception that say where, not what."""


def compile_graph(content: bytes, *, threads: int | None = None) -> Any:
    """The `openvino.CompiledModel` that runs a graph; its execution graph is the one that ships.

    Args:
        content: an ONNX file that was checked (`checked_content`), with every weight inside.
        threads: threads within an operator, 1 or more, of which no more than this machine has cores are taken; None
            lets OpenVINO take every core.

    Raises:
        InputError: `threads` below 1, or no integer.
        MissingExtraError: the package openvino is not installed.
        ModelError: OpenVINO refuses the file.
    """
    most = most_threads(threads)
    settings = _SETTINGS if most is None else _SETTINGS | {"INFERENCE_NUM_THREADS": str(most)}
    core = _core()
    try:
        return core.compile_model(core.read_model(model=content), "CPU", settings)
    except Exception as error:  # OpenVINO's exceptions share no base class of their own
        raise ModelError("OpenVINO cannot load the file", got=_said(error)) from None


class OpenVinoBackend(ClassifierBackend):
    """A classifier in an ONNX file, as a `protocol.Backend`.

    Args:
        graph: the ONNX file, read; its bytes are what runs.
        threads: as for `compile_graph`.

    Raises:
        InputError: `threads` out of range.
        MissingExtraError: the package openvino is not installed.
        ModelError: no valid ONNX, or no image classifier with fixed channels, height and width.
    """

    name = "openvino"

    def __init__(self, graph: OnnxFile, *, threads: int | None = None) -> None:
        most_threads(threads)
        _core()  # what is not installed is told before the graph is looked at
        content = checked_content(graph)
        try:
            self._compiled = compile_graph(content, threads=threads)
        except ModelError as error:
            raise ModelError(f"{graph.path}: {error.what}", got=error.got) from None
        self._idle: deque[Any] = deque()
        super().__init__(str(graph.path), _described(self._compiled.inputs), _described(self._compiled.outputs))

    def _run(self, images: NDArray[Any]) -> NDArray[Any]:
        try:
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        except IndexError:  # another thread took the last one
            request = self._compiled.create_infer_request()
        try:
            result = np.array(request.infer({0: images}, share_inputs=True, share_outputs=True)[0])
        except Exception as error:  # OpenVINO's exceptions share no base class of their own
            raise ModelError(f"{self._origin}: OpenVINO cannot run the graph", got=_said(error)) from None
        self._idle.append(request)
        return result


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output as ONNX Runtime describes it."""

    name: str
    type: str
    shape: Sequence[int | str]


def _described(ports: Sequence[Any]) -> list[_Tensor]:
    return [
        _Tensor(
            name=min(port.names, default=""),
            type=f"tensor({_type(port.element_type.to_string())})",
            shape=[size.get_length() if size.is_static else "?" for size in port.partial_shape]
            if port.partial_shape.rank.is_static
            else [],
        )
        for port in ports
    ]


def _type(name: str) -> str:
    return _TYPES.get(name, name.replace("i", "int", 1))


@cache
def _core() -> Any:
    """OpenVINO's plugins, loaded once."""
    try:
        import openvino
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", extra="openvino", feature="the backend openvino") from None
    return openvino.Core()


def _said(error: Exception) -> str:
    """The line of an exception that says what is wrong: the summary of a graph that it cannot read, else the first one
    that names no place in OpenVINO's sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    summary = [line.removeprefix("-- ") for line in reversed(lines) if line.startswith("-- ")]
    plain = [line for line in lines if not line.startswith(_PLACES)]
    return next(iter([*summary, *plain, *lines]), type(error).__name__)
