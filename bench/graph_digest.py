"""SHA-256 of an ONNX graph with its weights, wherever they lie.

digest = SHA-256(hex SHA-256 of the graph file, then of each weights file, by name)
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..runtime.files.hashing import hash_file

__all__ = ["digest_of", "graph_files"]

_OUTSIDE = b"\n\x08location"
"""In protobuf, how a tensor says which other file holds it (TensorProto.external_data)."""


def digest_of(graph: Path) -> str:
    """SHA-256 over an ONNX file and the files that it keeps weights in, as 64 hex digits.

    Raises:
        BundleError: one cannot be read.
        ModuleNotFoundError: the graph keeps weights in other files, and onnx, which finds them, is not installed.
    """
    return hashlib.sha256("".join(hash_file(file) for file in graph_files(graph)).encode()).hexdigest()


def graph_files(graph: Path) -> tuple[Path, ...]:
    """An ONNX file and the files that it keeps weights in. Only where there are some does this need onnx."""
    if _OUTSIDE not in graph.read_bytes():
        return (graph,)
    import onnx

    tensors = onnx.load(graph, load_external_data=False).graph.initializer
    outside = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return (graph, *(graph.parent / name for name in sorted(outside)))
