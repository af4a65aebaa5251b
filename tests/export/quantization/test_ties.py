from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from hardtemper.export.passes.elementwise import origin
from hardtemper.export.quantization.scheme import Grid
from hardtemper.export.quantization.ties import NEAREST, distance, rounding_scale, table_of


def table(build: Callable[..., Any], text: str, **constants: Any) -> Any:
    types = {"inputs": {"x": "float[N,4,3,3]"}, "outputs": {"y": "float[N,4,3,3]"}}
    graph = ir.from_proto(build(text, constants=constants, **types)).graph
    x, nodes = origin(graph.outputs[0])
    return table_of(x, Grid(2.0**-5, 128), nodes, graph.outputs[0])


def test_the_table_is_the_function(build: Callable[..., Any]) -> None:
    exact, error = table(build, "g = Sigmoid(x) y = Mul(x, g)")
    numbers = (np.arange(256) - 128) / 32
    np.testing.assert_allclose(exact.reshape(-1), numbers / (1 + np.exp(-numbers)), rtol=1e-14)
    assert 0 < error < 1e-6


def test_a_table_for_each_channel(build: Callable[..., Any]) -> None:
    exact, _ = table(build, "y = PRelu(x, s)", s=np.array([0.1, 0.2, 0.3, 0.4], np.float32).reshape(4, 1, 1))
    assert exact.shape == (256, 4, 1, 1)


def test_no_table_of_other_functions(build: Callable[..., Any]) -> None:
    assert table(build, "y = Add(x, k)", k=np.ones((2, 4, 3, 3), np.float32)) is None  # of each image its own
    assert table(build, "y = Log(x)") is None  # not finite


@pytest.mark.parametrize("scale", [2.0**-5, 2.0**-4, 2.0**-3])
def test_ties_are_left(scale: float, build: Callable[..., Any]) -> None:
    """Of |x| half of all entries are ties at twice the input's scale."""
    found = table(build, "y = Abs(x)")
    grid = Grid(scale, 0)
    assert (distance(found[0], grid) == 0) == (scale > 2.0**-5)
    rounding, far = rounding_scale(found, grid)
    assert (rounding == scale) == (scale == 2.0**-5)
    assert far >= NEAREST
    assert abs(rounding / scale - 1) <= 2.0**-8
    assert far == pytest.approx(distance(found[0], Grid(rounding, 0)))
