"""What an engine costs apart from time: bytes, weights, and the memory of a process that runs it alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from ...runtime.errors import ModelError
from ...runtime.files.onnx_file import OnnxFile
from ..measurement import Measurement, Skip, measured
from .memory import Memory, measure_memory
from .size import measure_size

__all__ = ["measure_peak_memory", "measure_weights"]


def measure_weights(graph: OnnxFile, twin: nn.Module | None) -> list[Measurement]:
    """Size and gzipped size of a graph in bytes, and the number of its weights where there is a twin to count them."""
    found = [*measure_size(graph)]
    if twin is not None:
        found.append(measured("parameters", sum(parameter.numel() for parameter in twin.parameters()), n=1))
    return found


def measure_peak_memory(
    path: Path,
    *,
    digest: str,
    batch: int,
    threads: int | None,
    backend: str = "onnxruntime",
    measure: Callable[..., Memory] = measure_memory,
) -> Measurement | Skip:
    """The peak in MiB, or why it is missing: the engine runs in this process too, so a failure there ends nothing.

    Args:
        path: a bundle's folder or an ONNX file.
        digest: `Bundle.digest` or `OnnxFile.digest` of what may be measured.
        batch: images a call, 1 or more.
        threads: threads within an operator; None for every core.
        backend: what runs it.
        measure: called as `measure_memory`.
    """
    what = f"peak memory, batch {batch}"
    try:
        measurement = measure(path, digest=digest, batch=batch, threads=threads, backend=backend).measurement()
    except ModelError as error:
        return Skip(what=what, reason=str(error))
    return measurement or Skip(what=what, reason="this system does not report peak memory")
