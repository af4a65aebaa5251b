"""From an engine in the cache to a backend that runs it.

Rule: driver and GPU first, then the entry against both and against the TensorRT that is installed, and only then the
engine's bytes; so that a machine without a driver, another GPU and another TensorRT are errors of one line.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...files.onnx_file import OnnxFile
from ..cuda.driver import CudaGraph, Driver, Gpu, find_gpu, open_driver
from ..cuda.select import open_cuda
from .backend import TensorRTBackend
from .cache import CachedEngine, cache_folder, find_engine, read_engine
from .package import import_tensorrt

__all__ = ["open_cached", "open_engine"]


def open_cached(graph: OnnxFile, *, folder: Path | None = None) -> TensorRTBackend:
    """The engine that this machine built from `graph`.

    Args:
        graph: a bundle's ONNX file, read.
        folder: the cache; None for this user's.

    Raises:
        InputError: no driver or no GPU.
        MissingExtraError: TensorRT or CUDA's Python package is not installed.
        BundleError: nothing in the cache runs here.
        IntegrityError: the cache cannot be trusted.
        ModelError: TensorRT refuses the engine.
    """
    driver, gpu, tensorrt = _machine()
    entry, serialized = find_engine(
        folder or cache_folder(),
        graph,
        tensorrt=str(tensorrt.__version__),
        compute_capability=gpu.compute_capability,
    )
    return _backend(driver, tensorrt, entry, serialized, origin=str(graph.path))


def open_engine(path: Path, *, trust: bool = False) -> TensorRTBackend:
    """The engine in a file, with its entry beside it.

    Args:
        path: the ".engine".
        trust: run it although others may have written it. To open an engine is to run its code.

    Raises:
        As `open_cached`; ModelError also where it was built for another GPU or with another TensorRT.
    """
    driver, gpu, tensorrt = _machine()
    entry, serialized = read_engine(path, trust=trust)
    reason = entry.mismatch(tensorrt=str(tensorrt.__version__), compute_capability=gpu.compute_capability)
    if reason:
        raise ModelError(f"{path}: {reason}", fix="toolchain compile BUNDLE --target tensorrt, on this machine")
    return _backend(driver, tensorrt, entry, serialized, origin=str(path))


def _machine() -> tuple[Driver, Gpu, Any]:
    driver = open_driver()
    return driver, find_gpu(driver), import_tensorrt()


def _backend(driver: Driver, tensorrt: Any, entry: CachedEngine, serialized: bytes, *, origin: str) -> TensorRTBackend:
    return TensorRTBackend(
        serialized,
        tensorrt=tensorrt,
        cuda=open_cuda(),
        capture=partial(CudaGraph, driver),
        scale=entry.input.scale,
        host_code=bool(entry.flags.get("version_compatible")),
        origin=origin,
    )
