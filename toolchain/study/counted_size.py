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
import torch
from torch import nn

from ..compress.compressed import Compressed, LayerReport
from ..compress.cost import is_weighted
from ..compress.sharing.integer_weights import integer_weights

__all__ = ["counted_bits", "engine_bits", "network_bits"]

_FLOAT, _INT8 = 32, 8


def network_bits(module: nn.Module, layers: Sequence[LayerReport]) -> int:
    """Of a float network.

    Args:
        module: whose convolutions and linear layers, or the factors of these, have the names of the rows.
        layers: see `Compressed`.
    """
    owners = [module.get_submodule(layer.name) for layer in layers if is_weighted(layer.kind)]
    weights = [weight for owner in owners for weight in owner.parameters() if weight.ndim > 1]
    return _FLOAT * sum(int(torch.count_nonzero(weight)) for weight in weights)


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
