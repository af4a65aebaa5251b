"""What a finished cell leaves: a graph for each network that is measured, and how large these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from ...export.float_pixels import float_pixels
from ...export.lower import lower
from ..models.source import Source
from ..pipeline.stages import Hardened
from .counted_size import counted_bits, engine_bits, network_bits
from .masked_network import masked_network

__all__ = ["cell_graphs", "cell_sizes"]


def cell_graphs(hardened: Hardened, source: Source, subjects: Sequence[str]) -> dict[str, onnx.ModelProto]:
    """The graphs by subject: "network", the float one; "masked", see `masked_network`; "engine", the integers.

    Args:
        hardened: the finished network.
        source: the dense one.
        subjects: which.
    """
    modules = {}
    if "network" in subjects:
        modules["network"] = hardened.tuned.module
    if "masked" in subjects:
        modules["masked"] = masked_network(source.module, hardened.compressed.layers)
    graphs = {}
    for subject, module in modules.items():
        graph = lower(module, input_shape=source.input_shape)
        graphs[subject] = float_pixels(graph)
    if "engine" in subjects:
        graphs["engine"] = hardened.network.to_onnx()
    return graphs


def cell_sizes(hardened: Hardened, source: Source, graphs: dict[str, onnx.ModelProto]) -> dict[str, Any]:
    """JSON values: sizes in bits as the papers count them, of the dense network and by subject."""
    layers, tuned = hardened.compressed.layers, hardened.tuned.module
    bits = {row.name: row.bits for row in hardened.integers.tensors}
    sizes = {}
    for subject, graph in graphs.items():
        if subject == "engine":
            sizes[subject] = engine_bits(graph, bits)
        else:  # masked: what is not zero of it is the hardened network
            sizes[subject] = counted_bits(hardened.compressed) or network_bits(tuned, layers)
    return {
        "dense_size_bits": network_bits(source.module, layers),
        "size_bits": sizes,
    }
