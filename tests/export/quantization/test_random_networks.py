"""Random small networks of all operators: each is one function in twin and engine, or one line says why not.

python -m hardtemper.tests.export.quantization.test_random_networks --count 300 --seed 0
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from hardtemper.export.lower import lower
from hardtemper.export.proofs.executed_kernels import inspect_kernels
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import quantize
from hardtemper.runtime.errors import HardtemperError

SHAPE = (3, 10, 12)

FUNCTIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.GELU, nn.ELU, nn.SELU, nn.CELU,
    nn.Mish, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.PReLU,
    lambda: nn.GELU(approximate="tanh"), lambda: nn.LeakyReLU(0.1), lambda: nn.Hardtanh(-0.6, 1.1),
]  # fmt: skip


class Stage(nn.Module):
    """One operator on a map [N, C, H, W], with the layers that it needs."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.name = name
        self.one, self.two = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 3, padding=1)
        self.function, self.gate = random.choice(FUNCTIONS)(), random.choice([nn.Sigmoid, nn.Hardsigmoid, nn.GELU])()
        self.linear, self.norm = nn.Linear(channels, channels), nn.BatchNorm2d(channels)
        self.scale = nn.Parameter(torch.rand(channels, 1, 1) * random.choice([0.1, 1, 3]))
        self.order = torch.randperm(channels)
        self.number = random.uniform(0.2, 2)
        self.mode = random.choice(["constant", "reflect", "replicate", "circular"])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = STAGES[self.name](self, x)
        return y


STAGES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "function": lambda s, x: s.function(s.two(x)),
    "function alone": lambda s, x: s.function(x),
    "two functions": lambda s, x: s.gate(s.function(x)),
    "normalized": lambda s, x: s.function(s.norm(x)),
    "squeeze and excitation": lambda s, x: x * s.gate(s.one(F.relu(x.mean((2, 3), keepdim=True)))),
    "gate": lambda s, x: s.one(x) * s.gate(s.two(x)),
    "residual": lambda s, x: s.function(x + s.two(x)),
    "difference": lambda s, x: x - s.function(s.two(x)),
    "layer scale": lambda s, x: x + s.scale * s.two(x),
    "constants": lambda s, x: (1 - x * s.number) / 3 + s.number,
    "product of three": lambda s, x: s.one(x) * torch.tanh(x) * s.number,
    "quotient": lambda s, x: x / (s.two(x).abs() + s.number),
    "larger": lambda s, x: torch.maximum(s.one(x), s.two(x)),
    "padded": lambda s, x: s.two(F.pad(x, (1, 0, 2, 1), mode=s.mode)),
    "padded with a number": lambda s, x: F.max_pool2d(F.pad(x, (1, 0, 1, 0), value=s.number), 2, 1),
    "slice": lambda s, x: s.two(x[:, :, 1:, ::2] if x.shape[3] > 3 else x),
    "flip": lambda s, x: x.flip(3) + x,
    "order": lambda s, x: x[:, s.order],
    "roll": lambda s, x: torch.roll(x, 1, 2),
    "larger map": lambda s, x: F.interpolate(x, scale_factor=2) if x.shape[3] < 12 else x,
    "another map": lambda s, x: F.interpolate(x, size=(5, 7)),
    "shuffle": lambda s, x: F.channel_shuffle(x, 2),
    "mean": lambda s, x: F.adaptive_avg_pool2d(x, (4, 5)),
    "maximum": lambda s, x: F.adaptive_max_pool2d(x, (3, 7)),
    "average": lambda s, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "pool": lambda s, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "side by side": lambda s, x: F.relu(torch.cat([s.one(x), x], 1)).chunk(2, 1)[1] + x,
    "constant plane": lambda s, x: x + torch.linspace(-1, 1, x.shape[3]),
    "linear": lambda s, x: s.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "feed forward": lambda s, x: x + s.linear(F.gelu(s.linear(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2),
    "attention to places": lambda s, x: x * torch.sigmoid(x.mean(1, keepdim=True) + x.amax(1, keepdim=True)),
    "expand": lambda s, x: x + x.mean((2, 3), keepdim=True).expand(-1, -1, x.shape[2], x.shape[3]),
    "tile": lambda s, x: x.amax((2, 3), keepdim=True).repeat(1, 1, 3, 4),
    "choice": lambda s, x: torch.where(x > s.number, x, s.one(x)),
}


class Network(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        random.seed(seed)
        torch.manual_seed(seed)
        channels = random.choice([4, 6])
        self.names = [random.choice([*STAGES]) for _ in range(random.randint(2, 6))]
        self.first = nn.Conv2d(SHAPE[0], channels, 3, padding=1)
        self.stages = nn.Sequential(*(Stage(name, channels) for name in self.names))
        self.last = random.choice([nn.Linear(channels, 5), nn.Conv2d(channels, 5, 1)])

    def forward(self, images: Tensor) -> Tensor:
        x = self.stages(self.first(images))
        if isinstance(self.last, nn.Linear):
            return self.last(x.mean((2, 3)))
        return F.adaptive_avg_pool2d(self.last(x), 1)


def outcome(seed: int, pixels: Callable[..., NDArray[np.uint8]]) -> str:
    """ "exact", or what the refusal says; anything else is raised."""
    network = Network(seed)
    images = pixels(8, SHAPE, seed)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.from_numpy(images).float() / 255)
    try:
        integer = quantize(lower(network.eval(), input_shape=SHAPE), images)
    except HardtemperError as error:
        return str(error)
    kernels = inspect_kernels(integer.model)
    assert kernels.integer_share == 1.0, network.names
    parity = check_parity(integer.model, pixels(8, SHAPE, seed + 1))
    differ = {found.name: found.mismatches for found in parity.activations if found.mismatches}
    assert parity.exact, (network.names, parity.engine_logits, parity.unoptimized_logits, differ)
    return "exact"


@pytest.mark.parametrize("seed", range(30))
def test_a_random_network_is_one_function(seed: int, pixels: Callable[..., NDArray[np.uint8]]) -> None:
    assert outcome(seed, pixels) == "exact"


def main() -> None:
    """How many of `count` networks are exact; the others with their seed and reason."""
    from hardtemper.tests.export.conftest import make_pixels

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    exact = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        try:
            found = outcome(seed, make_pixels)
        except AssertionError as error:
            found = f"differs: {error}"
        exact += found == "exact"
        if found != "exact":
            print(f"{seed}: {found}", flush=True)
    print(f"{exact} of {arguments.count} are exact")


if __name__ == "__main__":
    main()
