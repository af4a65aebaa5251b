from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from hardtemper.export.quantization.exact_normalization import ExactLayerNormalization

TEXT = "x = DequantizeLinear(q, s, z) n = LayerNormalization<{}>(x, {}) y = QuantizeLinear(n, step, middle)"
STEP = 2.0**-5


def _plain(
    shape: tuple[int, ...], build: Callable[..., onnx.ModelProto], *, last: int, terms: str, epsilon: float
) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(1)
    weights = {"gain": rng.normal(1, 0.3, shape[-last:]), "offset": rng.normal(0, 0.3, shape[-last:])}
    constants: dict[str, Any] = {key: w.astype(np.float32) for key, w in weights.items() if key in terms}
    numbers = {"s": np.float32(2.0**-4), "z": np.array(100, np.uint8), "step": np.float32(STEP)}
    kind = f"uint8[{','.join(['N', *map(str, shape)])}]"
    model = build(
        TEXT.format(f"axis={-last}, epsilon={epsilon:.9f}", terms),
        inputs={"q": kind},
        outputs={"y": kind},
        constants=constants | numbers | {"middle": np.array(128, np.uint8)},
    )
    return onnx.shape_inference.infer_shapes(model), constants


def _exact(plain: onnx.ModelProto) -> onnx.ModelProto:
    model = ir.from_proto(plain)
    ExactLayerNormalization()(model)
    exact = ir.to_proto(model)
    onnx.checker.check_model(exact, full_check=True)
    assert "LayerNormalization" not in {node.op_type for node in exact.graph.node}
    return exact


def _inputs(shape: tuple[int, ...], spread: float) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    drawn = rng.normal(rng.uniform(60, 200, (20, *[1] * len(shape))), spread, (20, *shape)).clip(0, 255)
    ends = rng.choice([0, 255], (2, *shape))
    constant = np.full((1, *shape), 77)
    return np.concatenate([drawn, ends, constant]).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "last", "terms", "epsilon"),
    [
        ((4, 64), 1, "gain, offset", 1e-6),
        ((4, 96), 1, "gain", 1e-5),
        ((3, 4, 5), 2, "gain, offset", 1e-6),
        ((2, 1024), 1, "gain, offset", 1e-6),
        ((2, 1536), 1, "gain, offset", 1e-6),
        ((1, 5000), 1, "gain, offset", 1e-6),
        ((4, 64), 1, "gain, offset", 0.5),
    ],
)
@pytest.mark.parametrize("spread", [3.0, 30.0])
def test_the_engine_gives_the_function(
    shape: tuple[int, ...],
    last: int,
    terms: str,
    epsilon: float,
    spread: float,
    *,
    build: Callable[..., onnx.ModelProto],
    run: Callable[..., Any],
) -> None:
    """Within a step of LayerNormalization; nine of ten alike."""
    plain, _ = _plain(shape, build, last=last, terms=terms, epsilon=epsilon)
    q = _inputs(shape, spread)
    expected, found = (run(model, {"q": q})[0].astype(int) for model in (plain, _exact(plain)))
    differences = np.abs(expected - found)
    assert differences.max() <= 1
    assert (differences > 0).mean() < 0.1


@pytest.mark.parametrize("width", [48, 768])
def test_the_engine_gives_the_definition(
    width: int, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    """Integers in int64, and each float32 operation by numpy."""
    plain, weights = _plain((2, width), build, last=1, terms="gain, offset", epsilon=1e-6)
    q = _inputs((2, width), 30)
    b = q.astype(np.int64) - 128
    total, squares = b.sum(-1, keepdims=True), (b * b).sum(-1, keepdims=True)
    assert max(abs(total).max() * width, squares.max()) < 2**24 * width
    assert squares.max() <= 2**24
    share = np.float32((1 - 2.0**-21) / width)
    of_mean = np.floor((total.astype(np.float32) * total.astype(np.float32)) * share)
    root = np.sqrt((squares - of_mean.astype(np.int64)).astype(np.float32) + np.float32(1e-6 * width * 256))
    normal = (width * b - total).astype(np.float32) * (np.float32(1 / np.sqrt(width)) / root)
    parts = np.floor(normal * (weights["gain"].astype(np.float64) * 16 / STEP).astype(np.float32))
    moved = parts + (np.rint(weights["offset"].astype(np.float64) * 16 / STEP) + 0.5)
    expected = np.clip(np.rint(moved / 16) + 128, 0, 255)
    np.testing.assert_array_equal(run(_exact(plain), {"q": q})[0], expected)


@pytest.mark.parametrize("shape", [(2, 2**15 + 1), (41, 41, 41)])
def test_of_more_numbers_nothing_is_made(shape: tuple[int, ...], build: Callable[..., onnx.ModelProto]) -> None:
    plain, _ = _plain(shape, build, last=len(shape), terms="gain", epsilon=1e-5)
    step = ExactLayerNormalization()
    assert not step(ir.from_proto(plain)).modified
    assert [skip.reason.startswith("it works on ") for skip in step.skipped] == [True]
