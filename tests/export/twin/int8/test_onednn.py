"""8-bit kernels against float64 arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hardtemper.export.twin.int8 import onednn as byte_layers
from hardtemper.export.twin.int8.onednn import ByteConv, ByteGemm, Rescaling, exact, rescaling, trusted
from hardtemper.export.twin.windows import Window

needs_kernels = pytest.mark.skipif(not exact(), reason="no exact 8-bit kernels on this processor")


def integers(generator: torch.Generator, low: int, high: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform, with the ends over-represented: they are what saturates."""
    drawn = torch.randint(low, high + 1, shape, generator=generator)
    ends = torch.where(torch.rand(shape, generator=generator) < 0.5, low, high)
    return torch.where(torch.rand(shape, generator=generator) < 0.4, ends, drawn).double()


@needs_kernels
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    groups=st.sampled_from([1, 2, 8]),
    kernel=st.sampled_from([1, 2, 3, 5]),
    stride=st.integers(1, 2),
    padded=st.booleans(),
    zeros=st.tuples(st.sampled_from([0, 3, 128, 255]), st.sampled_from([0, 2, 128])),
    requantized=st.booleans(),
)
def test_conv_bit_for_bit(seed: int, groups: int, kernel: int, zeros: tuple[int, int], **rest: Any) -> None:
    stride, requantized, (zero, zero_y) = rest["stride"], rest["requantized"], zeros
    pad = kernel // 2 if rest["padded"] else 0
    generator = torch.Generator().manual_seed(seed)
    q = integers(generator, 0, 255, (3, 8, 7, 6))
    weight = integers(generator, -128, 127, (16, 8 // groups, kernel, kernel))
    bias = integers(generator, -50_000, 50_000, (16,))
    factor = 2.0 ** torch.randint(-16, 1, (16,), generator=generator)
    rescaled = rescaling(weight, bias, bound=255, factor=factor if requantized else None, zero=zero_y)
    assert rescaled is not None
    assert rescaled.requantized == requantized
    window = Window((kernel, kernel), (stride, stride), (1, 1), (pad, pad, pad, pad))
    assert trusted(window)
    layer = ByteConv(weight, zero, window, groups, rescaled)
    n = F.conv2d(q - zero, weight, bias, stride, pad, 1, groups)
    wanted = ((n * factor.view(-1, 1, 1).double()).round() + zero_y).clamp(0, 255) if requantized else n
    for found in (layer(q.byte()), layer.in_bytes(q.byte()), layer.in_floats(q.byte())):
        assert found.dtype == rescaled.dtype
        assert torch.equal(found.double(), wanted)


@pytest.mark.parametrize(
    ("window", "wanted"),
    [
        (Window((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)), True),
        (Window((3, 3), (1, 1), (2, 2), (2, 2, 2, 2)), True),
        (Window((4, 4), (4, 4), (1, 1), (0, 0, 0, 0)), True),
        (Window((3, 3), (1, 1), (2, 2), (1, 1, 1, 1)), False),
        (Window((3, 1), (1, 1), (1, 1), (0, 0, 0, 0)), False),
        (Window((3, 3), (1, 2), (1, 1), (1, 1, 1, 1)), False),
        (Window((3, 3), (1, 1), (1, 2), (0, 0, 0, 0)), False),
        (Window((3, 3), (1, 1), (1, 1), (1, 0, 1, 0)), False),
        (Window((3, 3), (1, 1), (1, 1), (0, 0, 1, 1)), False),
    ],
)
def test_trusted_windows(window: Window, wanted: bool) -> None:
    assert trusted(window) == wanted


@needs_kernels
def test_a_wrong_kernel_is_asked_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    right, asked = ByteConv.in_bytes, []

    def wrong(self: ByteConv, q: Tensor) -> Tensor:
        asked.append(tuple(q.shape))
        y = right(self, q)
        y[..., -1] += q.shape[3] == 5  # a column, on one size of map
        return y

    monkeypatch.setattr(ByteConv, "in_bytes", wrong)
    generator = torch.Generator().manual_seed(0)
    weight, bias = integers(generator, -128, 127, (4, 3, 3, 3)), torch.arange(4.0)
    rescaled = rescaling(weight, bias, bound=255, factor=None, zero=0)
    assert rescaled is not None
    layer = ByteConv(weight, 0, Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), 1, rescaled)
    for width in (5, 6, 5, 6):
        q = integers(generator, 0, 255, (2, 3, 5, width))
        assert torch.equal(layer(q.byte()).double(), F.conv2d(q, weight, bias.double(), 1, 1))
    assert asked == [(1, 3, 5, 5), (1, 3, 5, 6), (2, 3, 5, 6), (2, 3, 5, 6)]


@needs_kernels
@pytest.mark.parametrize("zero", [0, 7])
@pytest.mark.parametrize("requantized", [False, True])
def test_gemm_bit_for_bit(zero: int, requantized: bool) -> None:
    generator = torch.Generator().manual_seed(zero)
    q = integers(generator, 0, 255, (5, 300))
    weight = integers(generator, -128, 127, (10, 300))
    bias = integers(generator, -9_000, 9_000, (10,))
    factor = 2.0 ** torch.randint(-16, -8, (10,), generator=generator)
    rescaled = rescaling(weight, bias, bound=255, factor=factor if requantized else None, zero=0)
    assert rescaled is not None
    n = (q - zero) @ weight.T + bias
    wanted = (n * factor.double()).round().clamp(0, 255) if requantized else n
    assert torch.equal(ByteGemm(weight, zero, rescaled)(q.byte()).double(), wanted)


@needs_kernels
@pytest.mark.parametrize("groups", [1, 4])
def test_transposed_is_the_gradient(groups: int) -> None:
    generator = torch.Generator().manual_seed(groups)
    weight = integers(generator, -128, 127, (8, 8 // groups, 3, 3))
    rescaled = rescaling(weight, torch.zeros(8), bound=255, factor=torch.full((8,), 2.0**-9), zero=0)
    assert rescaled is not None
    layer = ByteConv(weight, 0, Window((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)), groups, rescaled)
    x = torch.rand(2, 8, 9, 9, generator=generator, dtype=torch.float64).requires_grad_()
    y = F.conv2d(x, weight * 2.0**-9, None, 2, 1, 1, groups)
    gradient = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    (wanted,) = torch.autograd.grad(y, x, gradient)
    mine = layer.transposed(gradient.to(layer._back.dtype), x.shape).double()
    assert (mine - wanted).norm() < 0.01 * wanted.norm()


ONES = torch.ones(2, 3, 1, 1)


@pytest.mark.parametrize(
    ("changed", "requantized"),
    [
        ({}, True),
        ({"factor": None}, False),
        ({"factor": torch.tensor([0.25, 0.3])}, False),  # rounds
        ({"factor": torch.tensor([0.25, 2.0])}, False),
        ({"zero": 3}, False),  # a tie between 2 and 3 goes to 2, and to 6 once 3 is added before
        ({"zero": 4}, True),
        ({"factor": torch.full((2,), 2.0**-23), "zero": 4}, False),  # z / m no longer fits beside n
        ({"bias": torch.tensor([0.5, 0.0])}, None),
        ({"bias": torch.tensor([0.0, 2.0**24])}, None),
        ({"weight": ONES * 2.0**15}, None),
    ],
)
def test_what_may_be_requantized(changed: dict[str, Any], requantized: bool | None) -> None:
    arguments: dict[str, Any] = {"weight": ONES, "bias": torch.zeros(2), "bound": 255}
    arguments |= {"factor": torch.tensor([0.25, 0.5]), "zero": 0} | changed
    found = rescaling(arguments.pop("weight"), arguments.pop("bias"), **arguments)
    assert (found.requantized if found else None) == requantized


@pytest.fixture
def ask_again() -> Any:
    exact.cache_clear()
    yield
    exact.cache_clear()


def saturating(self: ByteGemm, q: Tensor) -> Tensor:
    """vpmaddubsw: pairs of products in int16."""
    products = (q.double() - self._zero)[:, None] * self._back.double()
    pairs = products.unflatten(2, (-1, 2)).sum(3).clamp(-(2**15), 2**15 - 1)
    return (pairs.sum(2) + self._rescaling.offset).float()


def missing(self: ByteGemm, q: Tensor) -> Tensor:
    raise AttributeError


@pytest.mark.parametrize("kernel", [saturating, missing])
def test_kernels_that_saturate_or_are_missing_are_not_exact(
    kernel: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch, ask_again: None
) -> None:
    monkeypatch.setattr(byte_layers, "instruction_set", lambda: "x86-64-vnni")
    monkeypatch.setattr(ByteGemm, "__call__", kernel)
    assert not exact()


def test_no_kernels_are_expected_without_vnni(monkeypatch: pytest.MonkeyPatch, ask_again: None) -> None:
    monkeypatch.setattr(byte_layers, "instruction_set", lambda: "x86-64-avx2")
    assert not exact()


def test_dtype_of_the_result() -> None:
    assert Rescaling(torch.ones(1), torch.ones(1), requantized=True).dtype == torch.uint8
    assert Rescaling(torch.ones(1), torch.ones(1), requantized=False).dtype == torch.float32
