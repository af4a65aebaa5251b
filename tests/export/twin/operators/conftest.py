"""Graphs of one operator, and that the twin computes what ONNX Runtime does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators.supported import OPERATORS
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
    """Checks one case, (text, output, constants, opset) as for `graph`, on 3 images with values of both signs, with a
    gradient that is followed and without; `exact` where numbers only move or are integers."""

    def check(text: str, output: str, constants: Arrays | None = None, opset: int = 20, *, exact: bool = False) -> None:
        model = graph(text, output, constants, opset)
        x = 2 * np.random.default_rng(0).normal(size=(3, 4, 6, 6)).astype(np.float32)
        expected = run(model, {"x": x})[0]
        for followed in (False, True):
            images = torch.from_numpy(x).requires_grad_(followed)
            with torch.set_grad_enabled(followed):
                found = Twin(model)(images).detach().numpy()
            if found.shape != expected.shape:  # logits lose axes of size 1
                assert found.shape == (len(expected), expected[0].size)
                found = found.reshape(expected.shape)
            assert found.dtype == np.float32
            if exact:
                np.testing.assert_array_equal(found, expected)
            else:
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

    return check


@pytest.fixture(scope="session")
def untested() -> Callable[..., set[str]]:
    """The twin's operators of the given modules that no case's text has."""

    def find(cases: Sequence[tuple[Any, ...]], *modules: ModuleType) -> set[str]:
        names = {module.__name__ for module in modules}
        ours = {name for name, operator in OPERATORS.items() if operator.__module__ in names}
        assert ours
        return ours - {name for text, *_ in cases for name in re.findall(r"= (\w+)[<(]", text)}

    return find
