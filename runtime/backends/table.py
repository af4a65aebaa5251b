"""The backends by name: how each opens a bundle's graph, and what it finds in it.

Rule: a backend is one module beside this one and one row here; nothing else asks for a backend's name. A row imports
its module when it opens a graph, so that the packages of the other backends need not be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..files.onnx_file import OnnxFile
from .protocol import Backend

__all__ = ["BACKENDS", "PROCESSOR_BACKENDS", "BackendOpener", "OpenedGraph"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedGraph:
    """A graph that a backend opened.

    Attributes:
        backend: what runs it.
        fields: what the graph says for itself, by the manifest's field: "input.shape" and so on. The manifest must say
            the same.
    """

    backend: Backend
    fields: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendOpener:
    """One row of the table.

    Attributes:
        open: opens a bundle's graph, as it was read, with a number of threads, None for every core.
        takes_threads: whether the number of threads means anything to it.
        on_processor: whether its kernels are this processor's, so that another instruction set may change logits.
    """

    open: Callable[[OnnxFile, int | None], OpenedGraph]
    takes_threads: bool
    on_processor: bool


def _open_onnxruntime(graph: OnnxFile, threads: int | None) -> OpenedGraph:
    from .onnxruntime import OnnxRuntimeBackend

    backend = OnnxRuntimeBackend(graph, threads=threads)
    fields = {
        "input.dtype": backend.input_dtype,
        "input.name": backend.input_name,
        "output.name": backend.output_name,
    }
    return OpenedGraph(backend=backend, fields=_shapes(backend) | fields)


def _open_openvino(graph: OnnxFile, threads: int | None) -> OpenedGraph:
    from .openvino import OpenVinoBackend

    backend = OpenVinoBackend(graph, threads=threads)  # a tensor of several names tells one of them, any
    return OpenedGraph(backend=backend, fields=_shapes(backend) | {"input.dtype": backend.input_dtype})


def _open_tensorrt(graph: OnnxFile, _: int | None) -> OpenedGraph:
    from .tensorrt.open import open_cached

    backend = open_cached(graph)
    return OpenedGraph(backend=backend, fields=_shapes(backend))


def _shapes(backend: Backend) -> dict[str, object]:
    return {"input.shape": list(backend.input_shape), "output.classes": f"{backend.classes} labels"}


BACKENDS: Mapping[str, BackendOpener] = {
    "onnxruntime": BackendOpener(open=_open_onnxruntime, takes_threads=True, on_processor=True),
    "openvino": BackendOpener(open=_open_openvino, takes_threads=True, on_processor=True),
    "tensorrt": BackendOpener(open=_open_tensorrt, takes_threads=False, on_processor=False),
}

PROCESSOR_BACKENDS = tuple(name for name, row in BACKENDS.items() if row.on_processor)
"""Those whose engines run on this processor: what `verify`, `bench` and "auto" choose from."""
