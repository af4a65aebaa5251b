from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hardtemper.export.lower import lower_onnx
from hardtemper.export.quantization.quantize import check_operators
from hardtemper.runtime.errors import UnsupportedOperatorError

RNG = np.random.default_rng(1)


def test_a_linear_layer_on_the_last_axis_of_a_map(exact: Callable[..., Any]) -> None:
    """[N, H, W, C], as ConvNeXt has it: reshapes around a Gemm with its bias."""
    found = exact(
        "t = Transpose<perm=[0,2,3,1]>(b) m = MatMul(t, w) n = Add(m, c) y = Relu(n)",
        w=RNG.normal(size=(4, 5)).astype(np.float32),
        c=RNG.normal(size=5).astype(np.float32),
    )
    assert found.floats == []
    assert found.kernels["QGemm"] == 1
    assert found.kernels["QLinearConv"] == 1


def test_computed_weights_are_refused(build: Callable[..., Any]) -> None:
    """ONNX Runtime rounds such weights in a way of its own."""
    model = build(
        "m = ReduceMean<keepdims=0>(image) k = Mul(w, m) c = Conv(image, k) logits = Flatten(c)",
        inputs={"image": "float[N,4,4,4]"},
        outputs={"logits": "float[N,L]"},
        constants={"w": RNG.normal(size=(4, 4, 1, 1)).astype(np.float32)},
    )
    with pytest.raises(UnsupportedOperatorError, match=r"Conv with computed weights \(c\)"):
        check_operators(lower_onnx(model))
