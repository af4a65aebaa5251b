"""The fake bindings, and integer graphs for TensorRT."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from hardtemper.export.lower import FloatGraph, lower
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.quantization.scheme import Scheme

VERSIONS = ("8.5.3.1", "10.16.1.11", "11.4.0.106")


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
