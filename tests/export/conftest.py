"""Small graphs and nets, and ONNX Runtime as the oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from hardtemper.export.lower import FloatGraph, lower
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.runtime.backends.onnxruntime import session_options

Array = NDArray[Any]
Run = Callable[..., list[Array]]
Build = Callable[..., onnx.ModelProto]


class Residual(nn.Module):
    """Every shape of layer that a quantizer places differently, at 12x12 pixels: normalization first, a shortcut, a
    concatenation, depthwise and grouped convolutions, ReLU6, an average pool that pads, a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.48, 0.45, 0.4]).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.23, 0.22, 0.25]).reshape(1, 3, 1, 1))
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.ReLU6(), nn.Conv2d(8, 8, 1))
        self.third = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(), nn.Conv2d(16, 12, 1))
        self.down = nn.AvgPool2d(3, stride=2, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.first((images - self.mean) / self.std)
        y = torch.relu(x + self.second(x))
        z = self.third(torch.cat([y, nn.functional.max_pool2d(x, 3, 1, 1)], 1))
        return self.head(torch.relu(self.down(z)))  # type: ignore[no-any-return]


def lively(module: nn.Module, images: Array) -> nn.Module:
    """Batch statistics that fit the images, so that no activation dies or explodes; evaluation mode."""
    module.train()
    with torch.no_grad():
        for _ in range(8):
            module(torch.from_numpy(images).float() / 255)
    return module.eval()


def make_pixels(count: int, shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Random 8-bit images with structure at several scales, then all black, all white, a checkerboard, and the first
    image with the sign noise of an attack."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, shape[0], -(-shape[1] // 4), -(-shape[2] // 4)))
    smooth = np.kron(coarse, np.ones((4, 4)))[:, :, : shape[1], : shape[2]]
    images = np.clip(smooth + rng.normal(0, 30, (count, *shape)), 0, 255).astype(np.uint8)
    board = (np.indices(shape[1:]).sum(0) % 2 * 255).astype(np.uint8)
    attacked = np.clip(images[0].astype(int) + 8 * rng.choice([-1, 1], shape), 0, 255).astype(np.uint8)
    extremes = [np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), np.broadcast_to(board, shape), attacked]
    return np.concatenate([images, np.stack(extremes)])


def run_onnx(model: onnx.ModelProto, feed: Mapping[str, Array], *, optimize: bool = False) -> list[Array]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(optimize=optimize), providers=["CPUExecutionProvider"]
    )
    return list(session.run([output.name for output in session.get_outputs()], dict(feed)))


def build_graph(
    text: str,
    *,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    constants: Mapping[str, Array] | None = None,
    opset: int = 18,
) -> onnx.ModelProto:
    """A checked model from ONNX's textual syntax: nodes in `text`, types such as "float[N,3,8,8]"."""
    signature = ", ".join(f"{kind} {name}" for name, kind in inputs.items())
    results = ", ".join(f"{kind} {name}" for name, kind in outputs.items())
    header = f'<ir_version: 9, opset_import: ["" : {opset}]>'
    model = onnx.parser.parse_model(f"{header} graph ({signature}) => ({results}) {{ {text} }}")
    for name, array in (constants or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}_{index}"
    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model)


@pytest.fixture(scope="session")
def run() -> Run:
    return run_onnx


@pytest.fixture(scope="session")
def build() -> Build:
    return build_graph


@pytest.fixture(scope="session")
def pixels() -> Callable[..., NDArray[np.uint8]]:
    return make_pixels


@pytest.fixture(scope="session")
def prepare() -> Callable[[nn.Module, Array], nn.Module]:
    return lively


@pytest.fixture(scope="session")
def residual() -> nn.Module:
    """The net above with random weights, in evaluation mode; tests must leave it as it is."""
    torch.manual_seed(0)
    return lively(Residual(), make_pixels(32, (3, 12, 12)))


@pytest.fixture(scope="session")
def residual_graph(residual: nn.Module) -> FloatGraph:
    return lower(residual, input_shape=(3, 12, 12))


@pytest.fixture(scope="session")
def residual_integer(residual_graph: FloatGraph) -> IntegerGraph:
    """Quantized with power-of-two scales."""
    return quantize(residual_graph, make_pixels(32, (3, 12, 12)))
