from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.quantization.scheme import Grid, Scheme
from hardtemper.export.quantization.weight_codes import weight_limit
from hardtemper.export.quantization.weights import QuantizedWeights
from hardtemper.runtime.errors import DataError

Build = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)
W, B = RNG.normal(size=(6, 4)).astype(np.float32), RNG.normal(size=4).astype(np.float32)


def gemm(build: Build, w: Any = W, b: Any = B) -> ir.Model:
    text = "y = Gemm<alpha=0.5, beta=2.0>(x, w, b)"
    return ir.from_proto(
        build(text, inputs={"x": "float[N,6]"}, outputs={"y": "float[N,4]"}, constants={"w": w, "b": b})
    )


@pytest.mark.parametrize("bits", [7, 8])
@pytest.mark.parametrize("scales", ["power-of-two", "free"])
def test_alpha_beta_and_transb_go_into_the_integers(build: Build, run: Any, bits: Any, scales: Any) -> None:
    model = gemm(build)
    before = ir.to_proto(model)
    scheme = Scheme(weight_bits=bits, scales=scales)
    quantizer = QuantizedWeights(scheme)
    quantizer.quantize(model.graph, model.graph[0], Grid(2.0**-8, 0))
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in after.graph.initializer}
    weight, bias = stored["w_quantized"], stored["wbias_quantized"]
    assert (weight.dtype, weight.shape, bias.dtype) == (np.int8, (4, 6), np.int32)
    assert np.abs(weight.astype(int)).max() <= weight_limit(bits)
    np.testing.assert_allclose(quantizer.shadow["w_quantized"], 0.5 * W.T)
    np.testing.assert_allclose(quantizer.shadow["wbias_quantized"], 2 * B)
    x = RNG.uniform(size=(5, 6)).astype(np.float32)
    np.testing.assert_allclose(run(after, {"x": x})[0], run(before, {"x": x})[0], atol=0.05 if bits == 8 else 0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(build: Build, bad: float) -> None:
    weight = W.copy()
    weight[0, 0] = bad
    model = gemm(build, w=weight)
    with pytest.raises(DataError, match=r"weights of 'w'; expected: finite values; got: NaN or infinity"):
        QuantizedWeights(Scheme()).quantize(model.graph, model.graph[0], Grid(2.0**-8, 0))
