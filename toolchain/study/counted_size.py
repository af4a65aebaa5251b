"""A model's size as the papers count it: nonzero weights, each of so many bits.

    size = sum over weights != 0 of their bits

"of Nonzero parameters * Precision" (deep compression with boundary smoothing, section 3.4); of ATMC, whose report
counts itself, with 32 bits for each of the values (Gui et al. 2019, section 3.1). Biases and norms are left out, as in
ATMC's table 1. Files are another thing: they are measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from torch import nn

from ..compress.compressed import Compressed, LayerReport
from ..compress.cost import is_weighted
from ..compress.sharing.integer_weights import integer_weights

__all__ = ["counted_bits", "engine_bits", "layer_zeros", "network_bits"]

_FLOAT, _INT8 = 32, 8


def layer_zeros(module: nn.Module, layers: Sequence[LayerReport]) -> dict[str, tuple[int, int]]:
    """(zeros, weights) of each convolution and linear layer, by name.

    Args:
        module: whose layers, or their factors, have these names.
        layers: see `Compressed`.
    """
    found = {}
    for layer in layers:
        if is_weighted(layer.kind):
            weights = [weight for weight in module.get_submodule(layer.name).parameters() if weight.ndim > 1]
            found[layer.name] = (
                sum(int((weight == 0).sum()) for weight in weights),
                sum(weight.numel() for weight in weights),
            )
    return found


def network_bits(module: nn.Module, layers: Sequence[LayerReport]) -> int:
    """Of a float network; arguments as of `layer_zeros`."""
    return _FLOAT * sum(weights - zeros for zeros, weights in layer_zeros(module, layers).values())


def counted_bits(compressed: Compressed) -> int | None:
    """What a compression counts itself; None where it does not."""
    counted = [step.checks["size_bits"] for step in compressed.steps if "size_bits" in step.checks]
    return int(counted[-1]) if counted else None


def engine_bits(model: onnx.ModelProto, bits: Mapping[str, int]) -> int:
    """Of an integer graph.

    Args:
        model: the graph.
        bits: of an index into a layer's shared values, by name; 8 for others.
    """
    return sum(
        bits.get(weights.layer, _INT8) * int(np.count_nonzero(weights.codes)) for weights in integer_weights(model)
    )
