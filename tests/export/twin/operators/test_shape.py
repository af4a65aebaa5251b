"""Each operator of the twin that only moves numbers, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import shape
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


_SOME = np.linspace(-1, 1, 5, dtype=np.float32).reshape(1, 1, 5)


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


CASES = [  # text, dimensions of y, constants, opset
    ("y = Concat<axis=1>(x, x, k)", "3,10,6,6", {"k": np.linspace(-1, 1, 216, dtype=np.float32).reshape(3, 2, 6, 6)}),
    ("y = Flatten(x)", "N,144"),
    ("y = Flatten<axis=2>(x)", "M,36"),
    ("y = Gather<axis=1>(x, k)", "N,3,6,6", {"k": _ints(3, 0, -1)}),
    ("y = Gather<axis=2>(x, k)", "N,4,6", {"k": np.array(2, np.int64)}),
    ("y = Pad(x, k, v)", "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1), "v": _number(0.5)}),
    ("y = Pad(x, k, , a)", "N,4,9,7", {"k": _ints(1, 0, 2, 1), "a": _ints(2, -1)}),
    ('y = Pad<mode="reflect">(x, k)', "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1)}),
    ('y = Pad<mode="edge">(x, k)', "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1)}),
    ("y = Reshape(x, k)", "N,2,72", {"k": _ints(0, 2, -1)}),
    ("s = Shape(x) g = Gather<axis=0>(s, first) c = Concat<axis=0>(g, k) y = Reshape(x, c)", "M,L",
     {"first": _ints(0), "k": _ints(-1)}),
    ("y = Slice(x, a, b, c, d)", "N,4,3,3", {"a": _ints(1, 0), "b": _ints(4, 100), "c": _ints(2, 3),
     "d": _ints(1, 2)}),
    ("y = Slice(x, a, b, c, d)", "N,4,2,2", {"a": _ints(-1, -2), "b": _ints(-(2**63), 0), "c": _ints(2, 3),
     "d": _ints(-3, -2)}),
    ("y = Slice(x, a, b)", "1,2,6,6", {"a": _ints(0, 1), "b": _ints(1, 3)}),
    ("y = Slice<starts=[-3], ends=[-1], axes=[2]>(x)", "N,4,2,6", {}, 9),
    ("a, b = Split<axis=1>(x, k) y = Concat<axis=1>(b, a)", "N,4,6,6", {"k": _ints(1, 3)}),
    ("a, b = Split<axis=1, num_outputs=2>(x) y = Sub(a, b)", "N,2,6,6"),
    ("t = MaxPool<kernel_shape=[2,2]>(x) a, b, c = Split<axis=2, num_outputs=3>(t) y = Concat<axis=2>(c, b, a)",
     "N,4,5,5"),
    ("a, b = Split<axis=1>(x) y = Sub(a, b)", "N,2,6,6", {}, 13),
    ("a, b = Split<axis=1, split=[3,1]>(x) y = Concat<axis=1>(b, a)", "N,4,6,6", {}, 11),
    ("t = GlobalMaxPool(x) y = Squeeze(t, k)", "N,4", {"k": _ints(2, -1)}),
    ("t = GlobalMaxPool(x) y = Squeeze(t)", "N,4"),
    ("t = GlobalMaxPool(x) y = Squeeze<axes=[2,3]>(t)", "N,4", {}, 11),
    ("y = Transpose<perm=[0,2,3,1]>(x)", "N,6,6,4"),
    ("y = Transpose(x)", "6,6,4,N"),
    ("y = Unsqueeze(x, k)", "N,1,4,6,6,1", {"k": _ints(1, -1)}),
    ("k = Constant<value_ints=[0,-1]>() y = Reshape(x, k)", "N,144"),
    ("y = Concat<axis=-3>(x, x)", "N,8,6,6"),
    ("y = Flatten<axis=-1>(x)", "M,6"),
    ("y = Flatten<axis=0>(x)", "1,M"),
    ("y = Flatten<axis=4>(x)", "M,1"),
    ("y = Gather<axis=-1>(x, k)", "N,4,6,2,2", {"k": np.array([[0, -6], [5, -1]])}),
    ("y = Gather(x, k)", "4,6,6", {"k": np.array(-1, np.int32)}),
    ("s = Shape(x) g = Gather<axis=0>(s, first) u = Unsqueeze<axes=[0]>(g) c = Concat<axis=0>(u, k) y = Reshape(x, c)",
     "M,L", {"first": np.array(0), "k": _ints(-1)}, 11),
    ("s = Shape(x) g = Gather(s, k) m = Mul(g, g) z = Unsqueeze(m, n) c = Concat<axis=0>(j, z) y = Reshape(x, c)",
     "N,4,L", {"k": np.array(-1), "n": _ints(0), "j": _ints(-1, 4)}),
    ("y = Slice(x, a, b, c)", "N,4,6,6", {"a": _ints(-(2**63)), "b": _ints(2**63 - 1), "c": _ints(-1)}),
    ("y = Slice(x, a, b, c, d)", "N,4,6,6", {"a": _ints(2**63 - 1), "b": _ints(-(2**63)), "c": _ints(-2),
     "d": _ints(-1)}),
    ("y = Slice(x, a, b, c)", "N,4,6,1", {"a": np.array([-1], np.int32), "b": np.array([2**31 - 1], np.int32),
     "c": np.array([3], np.int32)}),
    ("y = Slice(x, a, b, c)", "N,0,6,6", {"a": _ints(3), "b": _ints(1), "c": _ints(1)}),
    ("y = Reshape<allowzero=1>(x, k)", "3,4,36", {"k": _ints(3, 4, 36)}),
    ("y = Reshape(x, k)", "M", {"k": _ints(-1)}),
    ("y = Unsqueeze<axes=[-1,0]>(x)", "1,N,4,6,6,1", {}, 11),
    ("y = Expand(x, k)", "2,N,4,6,6", {"k": _ints(2, 1, 1, 1, 1)}),
    ("y = Expand(x, k)", "N,4,6,6", {"k": _ints(1)}),
    ("s = Shape<end=1>(x) c = Concat<axis=0>(s, one, one) e = Expand(t, c) y = Concat<axis=1>(e, e)", "N,2,5",
     {"one": _ints(1), "t": _SOME}),
    ("s = Shape(x) e = Expand(t, s) y = Add(x, e)", "N,4,6,6", {"t": np.ones((1, 4, 1, 6), np.float32)}),
    ("y = Tile(x, k)", "N,8,6,18", {"k": _ints(1, 2, 1, 3)}),
    ("y = DepthToSpace<blocksize=2>(x)", "N,1,12,12"),
    ('y = DepthToSpace<blocksize=2, mode="CRD">(x)', "N,1,12,12"),
    ("y = SpaceToDepth<blocksize=3>(x)", "N,36,2,2"),
    ('y = Pad<mode="wrap">(x, k)', "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1)}),
    ('y = Pad<mode="edge">(x, k)', "N,6,6,6", {"k": _ints(0, 1, 0, 0, 0, 1, 0, 0)}),
    ('y = Pad<mode="reflect">(x, k)', "N,4,11,6", {"k": _ints(0, 0, 5, 0, 0, 0, 0, 0)}),
    ("y = Pad(x, k)", "N,4,4,7", {"k": _ints(0, 0, -1, 2, 0, 0, -1, -1)}),
    ("a, b, c = Split<axis=-1, num_outputs=3>(x) y = Concat<axis=-1>(c, a, b)", "N,4,6,6"),
    ("a, b = Split<axis=-2, num_outputs=2>(x) y = Concat<axis=2>(b, a)", "N,4,6,6"),
    ("t = MaxPool<kernel_shape=[2,2]>(x) a, b = Split<axis=-2, num_outputs=2>(t) y = Concat<axis=2>(b, a)", "N,4,5,5"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case, exact=True)


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    assert untested(CASES, shape) == set()


@pytest.mark.parametrize("k", [6, -7])
def test_an_index_beyond_the_end_is_said(k: int, graph: Callable[..., onnx.ModelProto]) -> None:
    twin = Twin(graph("y = Gather<axis=2>(x, k)", "N,4,6", {"k": np.array(k)}))
    with pytest.raises(UnsupportedOperatorError, match=r"Gather \(node 'gather_0'\): the twin cannot .*index"):
        twin(torch.zeros(1, 4, 6, 6))


@pytest.mark.parametrize(
    "text", ["y = Flatten(x)", "y = Reshape(x, k)", "y = Reshape(x, j)", "t = GlobalAveragePool(x) y = Flatten(t)"]
)
def test_no_images(text: str, graph: Callable[..., onnx.ModelProto]) -> None:
    model = graph(text, "N,K", {"k": _ints(0, -1), "j": _ints(-1, 144)}, opset=18)
    found = Twin(model)(torch.zeros(0, 4, 6, 6))
    assert found.shape == (0, 4 if "Global" in text else 144)
