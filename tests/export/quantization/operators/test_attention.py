from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hardtemper.export.lower import lower
from hardtemper.export.proofs.executed_kernels import inspect_kernels
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import quantize
from hardtemper.export.twin.twin import Twin

TRANSPOSED = "t = Transpose<perm=[0,1,3,2]>(b)"
K = np.random.default_rng(5).normal(size=(1, 4, 6, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "products", "floats"),
    [
        ("y = MatMul(a, b)", 1, []),
        (f"{TRANSPOSED} y = MatMul(b, t)", 1, []),
        ("y = MatMul(b, k)", 1, []),
        (f"{TRANSPOSED} m = MatMul(b, t) n = Mul(m, s) p = Softmax<axis=-1>(n) y = MatMul(p, a)", 2, ["Softmax"]),
        ("l = Mul(b, s) r = Div(a, s) m = MatMul(l, r) p = Softmax<axis=-1>(m) y = MatMul(p, b)", 2, ["Softmax"]),
    ],
)  # fmt: skip
def test_attention(text: str, products: int, floats: list[str], exact: Callable[..., Any]) -> None:
    constants = {"k": K} if "k)" in text else {"s": np.float32(0.3)} if "s)" in text else {}
    found = exact(text, **constants)
    assert found.floats == floats
    assert found.kernels["QLinearMatMul"] == products


@pytest.mark.parametrize("scaled", ["m = MatMul(b, t) n = Div(m, s)", "l = Mul(b, s) r = Div(t, s) n = MatMul(l, r)"])
def test_a_scale_takes_no_kernel(scaled: str, exact: Callable[..., Any]) -> None:
    before, behind = TRANSPOSED, "p = Softmax<axis=-1>(n) y = MatMul(p, a)"
    without = exact(f"{before} n = MatMul(b, t) {behind}").kernels
    assert exact(f"{before} {scaled} {behind}", s=np.float32(3)).kernels == without


class Block(nn.Module):
    """A transformer's encoder layer, with torch's own attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.layers(self.norms[1](x))  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021, section 3.1: patches, class token, position embedding, encoder, head."""

    def __init__(self, width: int = 32, heads: int = 2, patches: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, patches + 1, width) / 2)
        self.blocks = nn.Sequential(Block(width, heads), Block(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])  # type: ignore[no-any-return]


def test_a_vision_transformer(pixels: Callable[..., Any]) -> None:
    """Softmax, normalizations and GELU are float, by name; every product is an integer kernel."""
    torch.manual_seed(0)
    images, network = pixels(64, (3, 16, 16)), VisionTransformer().eval()
    integer = quantize(lower(network, input_shape=(3, 16, 16)), images)
    parity = check_parity(integer.model, images)
    assert parity.exact
    assert {found.operator for found in integer.float_operators} == {
        "LayerNormalization",
        "Softmax",
        "Gelu",
    }
    kernels = inspect_kernels(integer.model)
    assert kernels.integer_share >= 0.99
    operators = [kernel.operator.split(".")[-1] for kernel in kernels.kernels]
    assert operators.count("QLinearMatMul") == 4
    attention = 2 * 2 * 17 * 17 * 32  # blocks, products, tokens, tokens, width
    layers = 2 * 17 * 32 * 32 * (3 + 1 + 2 + 2) + 16 * 32 * 48 + 32 * 10
    assert kernels.macs == attention + layers
    x = torch.from_numpy(images).float().div(255).requires_grad_()
    gradients = [
        torch.autograd.grad(function(x)[:, 3].sum(), x)[0].flatten(1) for function in (network, Twin(integer.model))
    ]
    assert torch.cosine_similarity(*gradients).mean() > 0.8
