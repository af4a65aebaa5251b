from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.affine_map import affine_map
from hardtemper.export.passes.node_pass import RefusedError
from hardtemper.tests.export.passes.pass_cases import positive, some

_BN = {"g": positive(4), "h": some(4), "m": some(4), "v": positive(4)}
NODES = {
    "mul": ("y = Mul(x, k)", {"k": some(4)}),
    "mul by one number": ("y = Mul(k, x)", {"k": some()}),
    "div": ("y = Div(x, k)", {"k": positive(1, 4)}),
    "add": ("y = Add(k, x)", {"k": some(4)}),
    "sub": ("y = Sub(x, k)", {"k": some(1)}),
    "sub from": ("y = Sub(k, x)", {"k": some(1, 4)}),
    "batch norm": ("y = BatchNormalization<epsilon=0.01>(x, g, h, m, v)", _BN),
}


def node_of(text: str, constants: dict[str, Any], build: Callable[..., onnx.ModelProto], shape: str) -> Any:
    model = build(text, inputs={"x": shape}, outputs={"y": shape}, constants=constants)
    return model, next(iter(ir.from_proto(model).graph))


@pytest.mark.parametrize(("text", "constants"), NODES.values(), ids=NODES)
def test_a_map_of_features(
    text: str, constants: dict[str, Any], build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    model, node = node_of(text, constants, build, "float[N,4]")
    found = affine_map(node, rank=2)
    assert found is not None
    value, (a, b) = found
    x = some(5, 4)
    assert value.name == "x"
    np.testing.assert_allclose(run(model, {"x": x})[0], a * x + b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "constants", "shape", "rank", "reason"),
    [
        ("y = Mul(x, k)", {"k": some(4)}, "float[N,4]", 4, r"not on \[N, C, H, W\]"),
        ("y = Mul(x, k)", {"k": some(4)}, "float[N,3,4]", 2, r"not on \[N, features\]"),
        ("y = Mul(x, k)", {"k": some(2, 1)}, "float[2,4]", 2, "not one number a feature"),
        ("y = Mul(x, k)", {"k": some(4)}, "float[N,3,4,4]", 4, "not one number a channel"),
        ("y = Div(k, x)", {"k": some(4)}, "float[N,4]", 2, "divided by x"),
        ("y = BatchNormalization(x, g, h, m, v)", _BN, "float[N,4,3]", 2, r"not on \[N, features\]"),
        ("t = Mul(h, h) y = BatchNormalization(x, g, t, m, v)", _BN, "float[N,4]", 2, "statistics are computed"),
    ],
)
def test_what_is_none(
    *, text: str, constants: dict[str, Any], shape: str, rank: int, reason: str, build: Callable[..., onnx.ModelProto]
) -> None:
    model, _ = node_of(text, constants, build, shape)
    *_, node = ir.from_proto(model).graph
    with pytest.raises(RefusedError, match=reason):
        affine_map(node, rank=rank)


@pytest.mark.parametrize("text", ["y = Relu(x)", "y = Mul(x, x)"])
def test_what_it_is_not_about(text: str, build: Callable[..., onnx.ModelProto]) -> None:
    assert affine_map(node_of(text, {}, build, "float[N,4]")[1], rank=2) is None
