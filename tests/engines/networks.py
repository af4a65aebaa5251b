"""Small networks that hold, together, every operator with an integer kernel; each must be one function on every engine.

To ask it of a new operator: write a module here and name it in `NETWORKS`. Images are 12x12, so that an emulated
processor runs them all in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NETWORKS"]


def conv(i: int, o: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, size, stride, size // 2, groups=groups)


class Block(nn.Module):
    """Two convolutions and a shortcut, which is a convolution where the shape changes."""

    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.first, self.second = conv(i, o, 3, stride), conv(o, o)
        self.shortcut = nn.Identity() if i == o else conv(i, o, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class Residual(nn.Module):
    """A ResNet: sums of a convolution and a shortcut, and of two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2, 2))
        self.blocks = nn.Sequential(Block(8, 8), Block(8, 16, 2), Block(16, 16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """A MobileNetV2: sums of signed tensors in a chain, ReLU6, depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 3, 2)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(8, 32, 1), nn.ReLU6(), conv(32, 32, 3, groups=32), nn.ReLU6(), conv(32, 8, 1))
            for _ in range(3)
        )
        self.head = nn.Linear(8 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(F.max_pool2d(F.relu6(x), 3).flatten(1))  # type: ignore[no-any-return]


class Sums(nn.Module):
    """Sums with the image, of three terms, of pooled and of transposed maps, with itself, of a tensor's two halves."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.a, self.b, self.c, self.d = conv(3, 3), conv(3, 8), conv(8, 8), conv(8, 8), conv(8, 8)
        self.head = nn.Linear(8 * 36, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x + self.image(x)))
        z = self.b(y) + self.c(y) + torch.relu(self.d(y))
        z = F.max_pool2d(z, 2) + F.avg_pool2d(y, 2)
        z = z + z.transpose(2, 3)
        p, q = torch.cat([z + z, self.b(z) + z], 1).chunk(2, 1)
        return self.head((p + q).flatten(1))  # type: ignore[no-any-return]


class Rows(nn.Module):
    """Linear layers, a matrix product and sums of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(i, 32) for i in (432, 32, 32))
        self.matrix = nn.Parameter(torch.randn(32, 10) / 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x.flatten(1)))
        x = x + self.third(torch.relu(self.second(x)))
        return torch.relu(x + self.second(x)) @ self.matrix


class Branches(nn.Module):
    """Concatenations of tensors on several grids, average pools of 2 x 2 and 3 x 3, a strided and a dilated kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.three = conv(3, 8), conv(8, 4, 1), conv(8, 4)
        self.dilated = nn.Conv2d(8, 4, 3, padding=2, dilation=2)
        self.mixed, self.head = nn.Conv2d(20, 12, 3, 2), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        pooled = F.avg_pool2d(x, 3, 1, 1)
        x = torch.cat([self.one(x), torch.relu(self.three(x)), 4 * self.dilated(x), pooled], 1)
        x = self.mixed(F.avg_pool2d(torch.relu(x), 2))
        return self.head(F.avg_pool2d(x, 2).flatten(1))  # type: ignore[no-any-return]


class Moves(nn.Module):
    """Channel shuffle, halves that pass by, squeezed and unsqueezed axes, a global pool over 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(3, 8, 3, 2), conv(4, 4), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        passing, x = torch.relu(self.first(x)).chunk(2, 1)
        x = torch.cat([passing, torch.relu(self.second(x))], 1)
        x = x.reshape(-1, 2, 4, 6, 6).transpose(1, 2).reshape(-1, 8, 6, 6)
        x = F.adaptive_avg_pool2d(self.third(x), 1).squeeze(3).unsqueeze(1)
        return self.head(x.flatten(1))  # type: ignore[no-any-return]


class Functions(nn.Module):
    """Functions of one tensor, one behind the other: tables inside ONNX Runtime, and float between quantizers."""

    def __init__(self, *functions: nn.Module) -> None:
        super().__init__()
        self.first, self.head = conv(3, 8), nn.Linear(8 * 16, 10)
        self.layers = nn.ModuleList(conv(8, 8) for _ in functions)
        self.functions = nn.ModuleList(functions)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer, function in zip(self.layers, self.functions, strict=True):
            x = layer(function(x))
        return self.head(F.avg_pool2d(x, 3).flatten(1))  # type: ignore[no-any-return]


class Gates(nn.Module):
    """Products: squeeze-and-excitation, gates, a constant plane, a square; differences of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a, self.b, self.c = conv(3, 8), conv(8, 8), conv(8, 8), conv(8, 8, 1)
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.first(x))
        x = x * torch.sigmoid(self.c(torch.relu(x.mean((2, 3), keepdim=True))))
        x = self.a(x) * torch.sigmoid(self.b(x)) - x
        x = x * x * torch.linspace(-1, 1, 12) - F.silu(self.b(x))
        return self.head(F.avg_pool2d(x, 3).flatten(1))  # type: ignore[no-any-return]


class Places(nn.Module):
    """Paddings, slices, gathers, repeats, nearest neighbours, ReLUs beside other readers, extremes over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(3, 8), conv(8, 8, 3, 2), conv(8, 8)
        self.head = nn.Linear(8 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(F.pad(x, (1, 0, 2, 0), mode="replicate"))
        x = F.relu(x) + x.flip(2)[:, torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])]
        x = self.second(F.pad(x[:, :, 1:, ::2], (1, 1, 1, 1), mode="reflect"))
        x = F.interpolate(self.third(F.interpolate(F.pad(x, (0, 1)), scale_factor=2)), size=(7, 5))
        x = x + F.adaptive_avg_pool2d(x.amax(1, keepdim=True), 1).expand(-1, 8, 7, 5) + x.amin(1, keepdim=True)
        x = F.adaptive_max_pool2d(F.adaptive_avg_pool2d(x, (4, 2)), (2, 2))
        return self.head((x + x.amax((2, 3), keepdim=True).repeat(1, 1, 2, 2)).flatten(1))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Products of two tensors and a Softmax between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.q, self.k, self.v = conv(3, 8, 3, 2), conv(8, 8, 1), conv(8, 8, 1), conv(8, 8, 1)
        self.head = nn.Linear(8 * 36, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        q, k, v = (layer(x).flatten(2) for layer in (self.q, self.k, self.v))
        y = v @ (q.transpose(1, 2) @ k / 8**0.5).softmax(2).transpose(1, 2)
        return self.head(y.flatten(1))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Patches, a class token, positions, one encoder layer of torch, normalizations of few and of many numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 3, stride=3)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 24)), nn.Parameter(torch.randn(1, 17, 24) / 2)
        self.layer = nn.TransformerEncoderLayer(24, 2, 32, activation="gelu", batch_first=True, norm_first=True)
        self.wide, self.norm, self.head = nn.Linear(24, 1100), nn.LayerNorm(1100), nn.Linear(1100, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.wide(self.layer(x)[:, 0])))  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "inverted": Inverted,
    "sums": Sums,
    "rows": Rows,
    "branches": Branches,
    "moves": Moves,
    "functions": lambda: Functions(nn.SiLU(), nn.Hardswish(), nn.GELU(), nn.LeakyReLU(0.1), nn.Hardsigmoid()),
    "more functions": lambda: Functions(nn.Tanh(), nn.Mish(), nn.ELU(), nn.GELU(approximate="tanh"), nn.PReLU(8)),
    "gates": Gates,
    "places": Places,
    "attention": Attention,
    "transformer": Transformer,
}
"""By name; images [N, 3, 12, 12] -> logits [N, 10]."""
