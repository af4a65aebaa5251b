from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from hardtemper.export.quantization.calibration import calibrate
from hardtemper.export.quantization.scheme import Grid, Observer, Scheme
from hardtemper.runtime.errors import DataError

Build = Callable[..., onnx.ModelProto]
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (70, 2, 5, 5)).astype(np.uint8)


@pytest.fixture(scope="module")
def graph(build: Build) -> onnx.ModelProto:
    """`signed` is nearly a normal distribution, `logits` the graph's own output."""
    weight = np.random.default_rng(1).normal(size=(3, 2, 3, 3)).astype(np.float32)
    return build(
        "x = DequantizeLinear(image, scale, zero) signed = Conv(x, w) positive = Relu(signed)"
        " logits = Flatten(positive)",
        inputs={"image": "uint8[N,2,5,5]"},
        outputs={"logits": "float[N,27]"},
        constants={
            "scale": np.float32(2**-8),
            "zero": np.uint8(0),
            "w": weight,
        },
    )


@pytest.fixture(scope="module")
def values(graph: onnx.ModelProto, images: NDArray[np.uint8], run: Run) -> dict[str, NDArray[np.float32]]:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(graph)
    for name in ("signed", "positive"):
        exposed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return dict(zip(("logits", "signed", "positive"), run(exposed, {"image": images}), strict=True))


def error(grid: Grid, x: NDArray[np.float32]) -> float:
    q = np.clip(np.rint(x / grid.scale) + grid.zero_point, 0, 255)
    return float((((q - grid.zero_point) * grid.scale - x.astype(np.float64)) ** 2).sum())


@pytest.mark.parametrize("scheme", [Scheme(observer="minmax"), Scheme(observer="minmax", scales="free")])
def test_minmax(
    graph: onnx.ModelProto,
    images: NDArray[np.uint8],
    values: dict[str, NDArray[np.float32]],
    scheme: Scheme,
) -> None:
    grids = calibrate(graph, list(values), images, scheme=scheme)
    assert list(grids) == list(values)
    for name, x in values.items():
        expected = Grid.covering(float(x.min()), float(x.max()), scheme=scheme)
        assert grids[name].zero_point == expected.zero_point
        assert grids[name].scale == pytest.approx(expected.scale, rel=1e-5)  # the last bit of a fused convolution


@pytest.mark.parametrize("scales", ["power-of-two", "free"])
def test_mse_is_never_worse_than_minmax(
    graph: onnx.ModelProto, images: NDArray[np.uint8], values: dict[str, NDArray[np.float32]], scales: Any
) -> None:
    found = calibrate(graph, list(values), images, scheme=Scheme(observer="mse", scales=scales))
    widest = calibrate(graph, list(values), images, scheme=Scheme(observer="minmax", scales=scales))
    for name, x in values.items():
        assert error(found[name], x) <= error(widest[name], x) * 1.001  # it sees a histogram of x, not x


def test_mse_cuts_far_tails(build: Build, run: Run) -> None:
    """Of a million cubes of nearly normal numbers a few lie far out: a grid without them has less error."""
    graph = build(
        "x = DequantizeLinear(image, scale, zero) t = Conv(x, w) square = Mul(t, t) cubes = Mul(square, t)",
        inputs={"image": "uint8[N,1,128,128]"},
        outputs={"cubes": "float[N,1,126,126]"},
        constants={
            "scale": np.float32(2**-8),
            "zero": np.uint8(0),
            "w": np.random.default_rng(1).choice([-1, 1], (1, 1, 3, 3)).astype(np.float32),
        },
    )
    images = np.random.default_rng(0).integers(0, 256, (64, 1, 128, 128)).astype(np.uint8)
    (x,) = run(graph, {"image": images})
    schemes = [Scheme(observer=observer, scales="free") for observer in ("mse", "minmax")]
    found, widest = (calibrate(graph, ["cubes"], images, scheme=scheme)["cubes"] for scheme in schemes)
    assert error(found, x) < 0.9 * error(widest, x)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile(
    graph: onnx.ModelProto, images: NDArray[np.uint8], values: dict[str, NDArray[np.float32]], percentile: float
) -> None:
    scheme = Scheme(observer="percentile", percentile=percentile, scales="free")
    grids = calibrate(graph, list(values), images, scheme=scheme)
    for name, x in values.items():
        # two bins of the histogram, half a step of the zero point
        slack = float(2 * (x.max() - x.min()) / 2048 + grids[name].scale)
        both = x.min() < 0
        ends = [(100 - percentile) / 2, (100 + percentile) / 2] if both else [0, percentile]
        # between the two values that the percentile falls between, and one more for the two ways to count ranks
        for end, found in zip(ends, (grids[name].low, grids[name].high), strict=True):
            rank = end / 100 * x.size
            around = np.sort(x.reshape(-1))[max(math.floor(rank) - 1, 0) : math.ceil(rank) + 1]
            assert around[0] - slack <= found <= around[-1] + slack


@pytest.mark.parametrize("observer", get_args(Observer))
@pytest.mark.parametrize("scales", ["power-of-two", "free"])
def test_constant_activations(build: Build, observer: Observer, scales: Any) -> None:
    """Dead layers, and a layer that gives one number only."""
    for pixel in (0, 7):
        graph = build(
            "x = DequantizeLinear(image, scale, zero) logits = Flatten(x)",
            inputs={"image": "uint8[N,1,4,4]"},
            outputs={"logits": "float[N,16]"},
            constants={"scale": np.float32(1), "zero": np.uint8(0)},
        )
        images = np.full((40, 1, 4, 4), pixel, np.uint8)
        grid = calibrate(graph, ["logits"], images, scheme=Scheme(observer=observer, scales=scales))["logits"]
        assert grid.high >= 0.99 * pixel
        assert grid.scale > 0


def test_what_is_not_finite_is_refused(build: Build, images: NDArray[np.uint8]) -> None:
    graph = build(
        "x = DequantizeLinear(image, scale, zero) t = Div(x, x) logits = Flatten(t)",
        inputs={"image": "uint8[N,2,5,5]"},
        outputs={"logits": "float[N,50]"},
        constants={"scale": np.float32(1), "zero": np.uint8(0)},
    )
    images = images.copy()
    images[-1] = 0
    with pytest.raises(DataError, match=r"logits.*finite.*NaN"):
        calibrate(graph, ["logits"], images, scheme=Scheme())


def test_no_images_are_refused(graph: onnx.ModelProto, images: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="at least one image"):
        calibrate(graph, ["logits"], images[:0], scheme=Scheme())


def test_progress(graph: onnx.ModelProto, images: NDArray[np.uint8]) -> None:
    calls: list[tuple[str, int, int, str]] = []
    calibrate(graph, ["logits"], images, scheme=Scheme(), progress=lambda *call: calls.append(call))
    assert [(task, done, total) for task, done, total, _ in calls] == [
        ("calibrate", 32, 70),
        ("calibrate", 64, 70),
        ("calibrate", 70, 70),
    ]


def test_nothing_to_calibrate(graph: onnx.ModelProto, images: NDArray[np.uint8]) -> None:
    assert calibrate(graph, [], images, scheme=Scheme()) == {}


def test_large_values_come_in_smaller_batches(
    graph: onnx.ModelProto, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> tuple[list[int], dict[str, Grid]]:
        seen: list[int] = []
        scheme = Scheme(observer="minmax")
        grids = calibrate(graph, ["signed", "logits"], images, scheme=scheme, progress=lambda _, n, *__: seen.append(n))
        return seen, grids

    whole, grids = found()
    assert whole == [32, 64, 70]
    monkeypatch.setattr("hardtemper.export.batch_size.MOST_BYTES", 20 * 2 * 27 * 4)
    assert found() == ([20, 40, 60, 70], grids)
    monkeypatch.setattr("hardtemper.export.batch_size.MOST_BYTES", 1)
    assert found() == (list(range(1, 71)), grids)
