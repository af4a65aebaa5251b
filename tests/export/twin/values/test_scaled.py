"""The kernels' formulas, on every pair of 8-bit integers, against ONNX Runtime's own kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from hardtemper.export.twin.gradients import OutputGrid, clamp_round, round_ste
from hardtemper.export.twin.values.scaled import Averages, Mean, Product, Scaled, Sum, dense
from hardtemper.runtime.cpu import instruction_set

Build = Callable[..., onnx.ModelProto]
Run = Callable[..., Any]

needs_avx2 = pytest.mark.skipif(not instruction_set().startswith("x86-64-"), reason="the formula of the AVX2 kernel")


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float32)


def target(scale: float, zero: int) -> OutputGrid:
    return OutputGrid(number(scale), float(zero), 0.0, 255.0)


def scaled(q: NDArray[np.uint8], scale: float, zero: int) -> Scaled:
    return Scaled(torch.from_numpy(q).float() - zero, number(scale), 255.0, float(zero))


def grids(seed: int) -> list[tuple[list[float], list[int]]]:
    """Scales and zero points of two inputs and a result that mostly stays in range."""
    rng = np.random.default_rng(seed)
    found = []
    for case in range(24):
        scales = np.exp(rng.uniform(-6, -1, 3))
        scales[2] = max(scales[2], 0.4 * max(scales[:2]))
        zeros = rng.integers(0, 256, 3) if case % 2 else [0, 0, 0]
        found.append(([float(np.float32(s)) for s in scales], [int(z) for z in zeros]))
    return found


def fused(
    build: Build, text: str, scales: list[float], zeros: list[int], shapes: tuple[str, str] = ("256,256", "256,256")
) -> onnx.ModelProto:
    """The graph `text` of a and b to y, of the given shapes."""
    names = "abc"
    constants: dict[str, Any] = {f"s{n}": np.float32(s) for n, s in zip(names, scales, strict=True)}
    constants |= {f"z{n}": np.uint8(z) for n, z in zip(names, zeros, strict=True)}
    inputs = {name: f"uint8[{shapes[0]}]" for name in names[:2] if f"({name}," in text}
    return build(text, inputs=inputs, outputs={"y": f"uint8[{shapes[1]}]"}, constants=constants)


_BOTH = "f = DequantizeLinear(a, sa, za) g = DequantizeLinear(b, sb, zb)"
PAIRS = [grid.astype(np.uint8) for grid in np.meshgrid(np.arange(256), np.arange(256))]


@needs_avx2
@pytest.mark.parametrize(("operator", "kind"), [("Add", Sum), ("Mul", Product)])
def test_pairs_equal_the_kernel(operator: str, kind: Any, build: Build, run: Run) -> None:
    mismatches = 0
    for (first, second, third), zeros in grids(0):
        scales = [first, second, third if operator == "Add" else float(np.float32(200 * first * second))]
        text = f"{_BOTH} h = {operator}(f, g) y = QuantizeLinear(h, sc, zc)"
        model = fused(build, text, scales, zeros)
        expected = run(model, {"a": PAIRS[0], "b": PAIRS[1]}, optimize=True)[0]
        pair = [scaled(q, s, z) for q, s, z in zip(PAIRS, scales, zeros, strict=False)]
        found = kind(*pair).requantized(target(scales[2], zeros[2])).numpy()
        mismatches += int((found != expected).sum())
    assert mismatches == 0


@needs_avx2
def test_an_odd_zero_point_goes_into_a_sum_before_the_rounding(build: Build, run: Run) -> None:
    text = f"{_BOTH} h = Add(f, g) y = QuantizeLinear(h, sc, zc)"
    for zeros in ([121, 77, 131], [121, 77, 128], [5, 0, 7]):
        scales = [2.0**-5, 2.0**-5, 2.0**-4]
        expected = run(fused(build, text, scales, zeros), {"a": PAIRS[0], "b": PAIRS[1]}, optimize=True)[0]
        pair = [scaled(q, s, z) for q, s, z in zip(PAIRS, scales, zeros, strict=False)]
        assert np.array_equal(Sum(*pair).requantized(target(scales[2], zeros[2])).numpy(), expected)


@pytest.mark.parametrize("scales", [[2.0**-5, 2.0**-5, 2.0**-4], [0.031, 0.017, 0.0002]])
def test_sums_of_16_bits_have_no_kernel(scales: list[float], build: Build, run: Run) -> None:
    zeros = [121, 77, 32767]
    constants: dict[str, Any] = {f"s{n}": np.float32(s) for n, s in zip("abc", scales, strict=True)}
    model = build(
        f"{_BOTH} h = Add(f, g) y = QuantizeLinear(h, sc, zc)",
        inputs={"a": "uint8[256,256]", "b": "uint8[256,256]"},
        outputs={"y": "uint16[256,256]"},
        constants=constants | {"za": np.uint8(121), "zb": np.uint8(77), "zc": np.uint16(32767)},
        opset=21,
    )
    expected = run(model, {"a": PAIRS[0], "b": PAIRS[1]}, optimize=True)[0]
    pair = [scaled(q, s, z) for q, s, z in zip(PAIRS, scales, zeros, strict=False)]
    found = Sum(*pair).requantized(OutputGrid(number(scales[2]), 32767.0, 0.0, 65535.0))
    assert np.array_equal(found.numpy(), expected)


@needs_avx2
def test_a_sum_and_its_relu(build: Build, run: Run) -> None:
    """Zero point 0 makes the ReLU; any other leaves it a float operator, between float operators."""
    for scales, zeros in grids(1)[:8]:
        text = f"{_BOTH} h = Add(f, g) r = Relu(h) y = QuantizeLinear(r, sc, zc)"
        model = fused(build, text, scales, zeros)
        expected = run(model, {"a": PAIRS[0], "b": PAIRS[1]}, optimize=True)[0]
        pair = [scaled(q, s, z) for q, s, z in zip(PAIRS, scales, zeros, strict=False)]
        found = Sum(*pair, rectified=True).requantized(target(scales[2], zeros[2])).numpy()
        assert np.array_equal(found, expected)


@needs_avx2
@pytest.mark.parametrize("size", [3, 7, 10])
def test_means_equal_the_kernel(size: int, build: Build, run: Run) -> None:
    x = np.random.default_rng(0).integers(0, 256, (64, 40, size, size)).astype(np.uint8)
    text = "f = DequantizeLinear(a, sa, za) h = GlobalAveragePool(f) y = QuantizeLinear(h, sc, zc)"
    for (scale, *_), zeros in grids(2)[:12]:
        scales = [scale, 1.0, float(np.float32(scale * 0.7))]
        model = fused(build, text, scales, zeros, (f"N,40,{size},{size}", "N,40,1,1"))
        expected = run(model, {"a": x}, optimize=True)[0]
        value = scaled(x, scales[0], zeros[0])
        mean = Mean(value.n.sum((2, 3), keepdim=True), value.s, size * size)
        assert np.array_equal(mean.requantized(target(scales[2], zeros[2])).numpy(), expected)


@needs_avx2
@pytest.mark.parametrize("size", [2, 3])
def test_averages_equal_the_kernel(size: int, build: Build, run: Run) -> None:
    x = np.random.default_rng(0).integers(0, 256, (16, 8, 12, 12)).astype(np.uint8)
    pool = f"AveragePool<kernel_shape=[{size},{size}]>(f)"
    text = f"f = DequantizeLinear(a, sa, za) h = {pool} y = QuantizeLinear(h, sc, zc)"
    side = 13 - size
    for (scale, *_), zeros in grids(3)[:12]:
        scales = [scale, 1.0, float(np.float32(scale * 0.7))]
        model = fused(build, text, scales, zeros, ("N,8,12,12", f"N,8,{side},{side}"))
        expected = run(model, {"a": x}, optimize=True)[0]
        values = torch.nn.functional.avg_pool2d(scaled(x, scales[0], zeros[0]).real(), size, 1)
        assert np.array_equal(Averages(values).requantized(target(scales[2], zeros[2])).numpy(), expected)


@given(exponents=st.tuples(*[st.integers(-9, -1)] * 3), zeros=st.tuples(*[st.sampled_from([0, 128])] * 3))
def test_power_of_two_scales_leave_no_room_for_formulas(
    exponents: tuple[int, int, int], zeros: tuple[int, int, int]
) -> None:
    scales = [2.0**exponent for exponent in exponents]
    a, b = (scaled(q[::7, ::5], s, z) for q, s, z in zip(PAIRS, scales, zeros, strict=False))
    end = target(scales[2], zeros[2])
    for value in (Sum(a, b), Sum(a, b, rectified=True), Product(a, b), Mean(a.n * 64, a.s, 64), Averages(a.real())):
        plain = clamp_round(dense(value) / end.scale, end)
        assert torch.equal(value.requantized(end), plain)


@given(hnp.arrays(np.float32, 20, elements=st.floats(-300, 300, width=32)), st.integers(0, 255))
def test_rounding_is_half_to_even(x: NDArray[np.float32], zero: int) -> None:
    x = np.concatenate([x, np.arange(-8, 9, dtype=np.float32) / 2])
    q = clamp_round(torch.from_numpy(x), target(1, zero)).numpy()
    assert np.array_equal(q, np.clip(np.rint(x) + zero, 0, 255))
    first = clamp_round(torch.from_numpy(x), target(1, zero), zero_first=True).numpy()
    assert np.array_equal(first, np.clip(np.rint(x + np.float32(zero)), 0, 255))
    assert np.array_equal(round_ste(torch.from_numpy(x)).numpy(), np.rint(x))


def test_gradients_are_straight_through() -> None:
    x = torch.tensor([-200.0, -0.6, -0.4, 0.5, 3.3, 254.9, 255.4, 255.6, 400.0], requires_grad=True)
    clamp_round(x, target(1, 0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]  # by the rounded value: 255.4 is 255, which is in range
    y = torch.tensor([0.3, 0.5], requires_grad=True)
    (round_ste(y) * torch.tensor([2.0, 3.0])).sum().backward()
    assert y.grad is not None
    assert y.grad.tolist() == [2, 3]


@pytest.mark.parametrize("kind", [Sum, Product])
@pytest.mark.parametrize("scale", [0.25, 0.3])
def test_gradients_of_pairs(kind: Any, scale: float) -> None:
    """Those of the real function, whichever formula computes it."""
    n = [torch.tensor([3.0, 5.0], requires_grad=True), torch.tensor([2.0, 4.0], requires_grad=True)]
    a, b = Scaled(n[0], number(scale), 255.0, 7.0), Scaled(n[1], number(0.5), 255.0, 0.0)
    kind(a, b).requantized(OutputGrid(number(0.125), 3.0, 0.0, 255.0)).sum().backward()
    wanted = [torch.autograd.grad((kind(a, b).real() / 0.125).sum(), tensor)[0] for tensor in n]
    for tensor, gradient in zip(n, wanted, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad, gradient)
