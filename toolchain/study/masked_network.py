"""The network before hardening: dense tensors, in which the removed filters are zeros.

"Structured pruning only sets weights to 0, but keeps the model structure. Model hardening grafts these non-zero
parameters into a reduced, more compact duplicate" (deep compression with boundary smoothing, section 2.1.4). Both are
one function; what hardening gains in time is measured between them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from ..compress.compressed import LayerReport

__all__ = ["masked_network"]


def masked_network(dense: nn.Module, layers: Sequence[LayerReport]) -> nn.Module:
    """A copy of the dense network whose removed filters, their biases and the norms behind them are zero.

    Args:
        dense: left as it is.
        layers: of a compression by filters that was not trained: `removed` counts.
    """
    masked = copy.deepcopy(dense)
    with torch.no_grad():
        for layer in layers:
            for parameter in masked.get_submodule(layer.name).parameters(recurse=False):
                parameter[list(layer.removed)] = 0
    return masked
