from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hardtemper.export.adaptive_pools import ADAPTIVE_POOLS
from hardtemper.export.lower import lower


@pytest.mark.parametrize(
    ("size", "operators"),
    [
        (1, ["Pool"]),
        ((2, 3), ["Pool"]),
        ((6, 5), ["Pool"]),  # windows of two rows, one row apart
        ((4, None), ["Gather", "Pool"]),
        ((5, 9), ["Gather", "Pool"]),
        ((12, 7), ["Gather", "Gather", "Pool"]),
        ((12, 12), ["Gather", "Gather"]),  # from a smaller to a larger map
    ],
)
@pytest.mark.parametrize("kind", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
def test_adaptive_pools(
    kind: Callable[..., nn.Module], size: Any, operators: list[str], pixels: Callable[..., NDArray[np.uint8]], run: Any
) -> None:
    module = nn.Sequential(kind(size), nn.Flatten())
    images = pixels(2, (3, 6, 6)).astype(np.float32) / 255
    model = lower(module, input_shape=(3, 6, 6)).model
    found = [node.op_type for node in model.graph.node]
    assert ["Pool" if "Pool" in name else name for name in found] == [*operators, "Flatten"]
    with torch.no_grad():
        wanted = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(run(model, {"image": images})[0], wanted, rtol=1e-6, atol=1e-6)


def test_the_exporter_knows_these_operators() -> None:
    assert all(isinstance(operator, torch._ops.OpOverload) for operator in ADAPTIVE_POOLS)
