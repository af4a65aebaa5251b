"""Each operator of the twin that only moves numbers, against ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.twin.operators import shape
from hardtemper.export.twin.operators.supported import OPERATORS
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


CASES = [  # text, dimensions of y, constants, opset
    ("y = Concat<axis=1>(x, x, k)", "3,10,6,6", {"k": np.linspace(-1, 1, 216, dtype=np.float32).reshape(3, 2, 6, 6)}),
    ("y = Flatten(x)", "N,144"),
    ("y = Flatten<axis=2>(x)", "M,36"),
    ("y = Gather<axis=1>(x, k)", "N,3,6,6", {"k": _ints(3, 0, -1)}),
    ("y = Gather<axis=2>(x, k)", "N,4,6", {"k": np.array(2, np.int64)}),
    ("y = GlobalMaxPool(x)", "N,4,1,1"),
    ("y = MaxPool<kernel_shape=[2,3], strides=[2,1], pads=[0,1,0,0]>(x)", "N,4,3,5"),
    ("y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", "N,4,3,3"),
    ("y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", "N,4,4,4"),
    ("y = Pad(x, k, v)", "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1), "v": _number(0.5)}),
    ("y = Pad(x, k, , a)", "N,4,9,7", {"k": _ints(1, 0, 2, 1), "a": _ints(2, -1)}),
    ('y = Pad<mode="reflect">(x, k)', "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1)}),
    ('y = Pad<mode="edge">(x, k)', "N,4,9,7", {"k": _ints(0, 0, 1, 0, 0, 0, 2, 1)}),
    ("y = Reshape(x, k)", "N,2,72", {"k": _ints(0, 2, -1)}),
    ("s = Shape(x) g = Gather<axis=0>(s, first) c = Concat<axis=0>(g, k) y = Reshape(x, c)", "M,L",
     {"first": _ints(0), "k": _ints(-1)}),
    ("s = Shape<start=1, end=3>(x) y = Cast<to=1>(s)", "2"),
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
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


def test_every_operator_of_the_module_is_tested() -> None:
    tested = {name for text, *_ in CASES for name in re.findall(r"= (\w+)[<(]", text)}
    ours = {name for name, operator in OPERATORS.items() if operator.__module__ == shape.__name__}
    assert ours
    assert ours - tested == set()


@pytest.mark.parametrize(
    ("text", "output", "got"),
    [
        ("y = MaxPool<kernel_shape=[3,3], pads=[0,2,0,2]>(x)", "N,4,4,8", r"with pads \[0, 2, 0, 2\] beyond half"),
        ("r = Reshape(x, k) y = MaxPool<kernel_shape=[2]>(r)", "N,4,35", r"MaxPool with kernel_shape \[2\]"),
        ('y = Pad<mode="wrap">(x, p)', "N,4,8,8", "Pad with mode wrap"),
    ],
)
def test_settings_that_the_twin_does_not_know(
    text: str, output: str, got: str, graph: Callable[..., onnx.ModelProto]
) -> None:
    model = graph(text, output, {"k": _ints(0, 4, 36), "p": _ints(0, 0, 1, 1, 0, 0, 1, 1)})
    with pytest.raises(UnsupportedOperatorError, match=got):
        Twin(model)


def test_what_shows_only_when_it_runs(graph: Callable[..., onnx.ModelProto]) -> None:
    model = graph('y = Pad<mode="edge">(x, p)', "N,6,6,6", {"p": _ints(0, 1, 0, 0, 0, 1, 0, 0)}, opset=18)
    with pytest.raises(UnsupportedOperatorError, match="Pad with mode edge"):
        Twin(model)(torch.zeros(1, 4, 6, 6))


@pytest.mark.parametrize(
    "text", ["y = Flatten(x)", "y = Reshape(x, k)", "y = Reshape(x, j)", "t = GlobalAveragePool(x) y = Flatten(t)"]
)
def test_no_images(text: str, graph: Callable[..., onnx.ModelProto]) -> None:
    model = graph(text, "N,K", {"k": _ints(0, -1), "j": _ints(-1, 144)}, opset=18)
    found = Twin(model)(torch.zeros(0, 4, 6, 6))
    assert found.shape == (0, 4 if "Global" in text else 144)
