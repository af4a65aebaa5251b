"""Normalizations against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.export.twin.operators import normalization

_RNG = np.random.default_rng(0)


def _some(*shape: int) -> NDArray[np.float32]:
    return _RNG.normal(size=shape).astype(np.float32)


_STORED = {"g": _some(4), "b": _some(4), "m": _some(4), "v": np.abs(_some(4))}

CASES: list[tuple[Any, ...]] = [  # text, dimensions of y, constants, opset
    ("y = BatchNormalization<epsilon=0.01>(x, g, b, m, v)", "N,4,6,6", _STORED),
    ("y = BatchNormalization<momentum=0.5>(x, g, b, m, v)", "N,4,6,6", _STORED, 9),
    ("y = BatchNormalization<spatial=1>(x, g, b, m, v)", "N,4,6,6", _STORED, 7),
    ("f = GlobalMaxPool(x) s = Squeeze<axes=[2,3]>(f) y = BatchNormalization(s, g, b, m, v)", "N,4", _STORED, 9),
    ("y = LayerNormalization<axis=2, epsilon=0.01>(x, g, b)", "N,4,6,6", {"g": _some(6, 6), "b": _some(6, 6)}),
    ("y = LayerNormalization(x, g)", "N,4,6,6", {"g": _some(6)}),
    ("y = LayerNormalization<axis=-2>(x, g, b)", "N,4,6,6", {"g": _some(1, 6), "b": _some(1, 6)}),
    ("y = LayerNormalization<axis=1, stash_type=1>(x, g)", "N,4,6,6", {"g": _some(4, 6, 6)}),
    ("y = InstanceNormalization<epsilon=0.1>(x, g, b)", "N,4,6,6", {"g": _some(4), "b": _some(4)}),
    ("y = GroupNormalization<num_groups=2, epsilon=0.2>(x, g, b)", "N,4,6,6", {"g": _some(4), "b": _some(4)}, 21),
    ("y = LRN<size=3, alpha=0.5, beta=0.6, bias=2.0>(x)", "N,4,6,6"),
    ("y = LRN<size=5>(x)", "N,4,6,6"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} opset {case[3] if case[3:] else 20}")
def test_equals_onnxruntime(case: tuple[Any, ...], equals_onnxruntime: Callable[..., None]) -> None:
    equals_onnxruntime(*case)


def test_every_operator_of_the_module_is_tested(untested: Callable[..., set[str]]) -> None:
    assert untested(CASES, normalization) == set()
