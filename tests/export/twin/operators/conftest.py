"""Graphs of one operator, and that the twin computes what ONNX Runtime does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.twin import Twin

Arrays = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="session")
def graph(build: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
    """A graph of x, float [N, 4, 6, 6], to y, float of the given dimensions."""

    def make(text: str, output: str, constants: Arrays | None = None, opset: int = 20) -> onnx.ModelProto:
        ends = {"inputs": {"x": "float[N,4,6,6]"}, "outputs": {"y": f"float[{output}]"}}
        return build(text, **ends, constants=constants, opset=opset)

    return make


@pytest.fixture(scope="session")
def equals_onnxruntime(graph: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> Callable[..., None]:
    """Checks one case, (text, output, constants, opset) as for `graph`, on 3 images with values of both signs."""

    def check(text: str, output: str, constants: Arrays | None = None, opset: int = 20) -> None:
        model = graph(text, output, constants, opset)
        x = 2 * np.random.default_rng(0).normal(size=(3, 4, 6, 6)).astype(np.float32)
        expected = run(model, {"x": x})[0]
        with torch.no_grad():
            found = Twin(model)(torch.from_numpy(x)).numpy()
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

    return check
