"""The fake bindings, and integer graphs for TensorRT."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hardtemper.export.lower import FloatGraph, lower
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.toolchain.models.cnn8 import CNN8

VERSIONS = ("8.5.3.1", "10.16.1.11", "11.4.0.106")


class Linear(nn.Module):
    """No convolution of its own: what brings the pixels to [0, 1] is one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Halves(nn.Module):
    """A split, and a convolution in groups that reads the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.Conv2d(3, 3, 3)
        self.head = nn.Linear(3 * 36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = torch.relu(self.first(x)).chunk(2, 1)
        return self.head(self.second(left + right).flatten(1))  # type: ignore[no-any-return]


def load_fakes() -> ModuleType:
    path = Path(__file__).parents[2] / "fakes" / "tensorrt.py"
    spec = importlib.util.spec_from_file_location("fake_tensorrt", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    return load_fakes()


@pytest.fixture(params=VERSIONS)
def trt(request: pytest.FixtureRequest, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake of each version, where the package imports TensorRT."""
    fake = fakes.FakeTensorRT(request.param)
    monkeypatch.setattr("hardtemper.export.tensorrt.engine_builder.import_tensorrt", lambda: fake)
    return fake


@pytest.fixture(scope="session")
def for_tensorrt(
    prepare: Callable[[nn.Module, NDArray[Any]], nn.Module], pixels: Callable[..., NDArray[np.uint8]]
) -> Callable[..., IntegerGraph]:
    """A net's integer graph for TensorRT."""

    def make(net: nn.Module, shape: tuple[int, int, int], **settings: Any) -> IntegerGraph:
        graph = lower(prepare(net, pixels(12, shape)), input_shape=shape)
        return quantize(graph, pixels(12, shape), scheme=Scheme(target="tensorrt", **settings))

    return make


@pytest.fixture(scope="session")
def residual_tensorrt(residual_graph: FloatGraph, pixels: Callable[..., NDArray[np.uint8]]) -> IntegerGraph:
    return quantize(residual_graph, pixels(32, (3, 12, 12)), scheme=Scheme(target="tensorrt"))


@pytest.fixture(scope="session")
def graphs(residual_tensorrt: IntegerGraph, for_tensorrt: Callable[..., IntegerGraph]) -> dict[str, onnx.ModelProto]:
    """Integer graphs for TensorRT by name."""
    torch.manual_seed(0)
    return {
        "residual": residual_tensorrt.model,
        "cnn8": for_tensorrt(CNN8(width=8), (1, 28, 28)).model,
        "linear": for_tensorrt(Linear(), (3, 8, 8)).model,
        "halves": for_tensorrt(Halves(), (4, 8, 8)).model,
    }
