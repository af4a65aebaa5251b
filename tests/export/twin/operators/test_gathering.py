from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hardtemper.export.twin.twin import Twin


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("g = Gather<axis=1>(x, i) y = Flatten(g)", [2, -1, 0]),
        ("g = Gather<axis=3>(x, i) y = Flatten(g)", [[2, 1], [0, 0]]),
        ("t = Transpose<perm=[1,0,2,3]>(x) g = GatherND(t, i) y = Flatten<axis=0>(g)", [[2], [-1]]),
        ("t = Transpose<perm=[1,2,0,3]>(x) g = GatherND(t, i) y = Flatten<axis=0>(g)", [[2, 1], [-1, 0]]),
    ],
)
def test_gathering(text: str, index: Any, build: Callable[..., Any], run: Callable[..., Any]) -> None:
    constants = {"i": np.array(index)}
    model = build(text, inputs={"x": "float[N,3,4,4]"}, outputs={"y": "float[M,L]"}, constants=constants)
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    images = torch.from_numpy(x).requires_grad_()
    y = Twin(model)(images)
    np.testing.assert_array_equal(y.detach().numpy(), run(model, {"x": x})[0])
    y.sum().backward()
    assert images.grad is not None
    assert images.grad.sum() == y.numel()
