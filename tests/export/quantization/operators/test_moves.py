from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


PADS = ints(0, 0, 1, 2, 0, 0, 0, 1)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "zeros": ("p = Pad(b, pads) y = Conv(p, w)", {"pads": PADS}),
    "zeros elsewhere": ("p = Pad(b, pads) y = MaxPool<kernel_shape=[2,2]>(p)", {"pads": PADS}),
    "reflected": ('p = Pad<mode="reflect">(b, pads) y = Conv(p, w)', {"pads": PADS}),
    "repeated": ('p = Pad<mode="edge">(a, pads) y = Conv(p, w)', {"pads": PADS}),
    "cut off": ("p = Pad(b, pads) y = Conv(p, w)", {"pads": ints(0, 0, -1, 2, 0, 0, 0, -1)}),
    "slice": ("s = Slice(b, i, j, k, l) y = Conv(s, w)",
              {"i": ints(5, 0), "j": ints(-9, 6), "k": ints(3, 2), "l": ints(-1, 2)}),
    "gather": ("s = Gather<axis=1>(b, i) y = Conv(s, w)", {"i": ints(3, 1, 0, 1)}),
    "gather n": ("t = Transpose<perm=[1,0,2,3]>(b) s = GatherND(t, i) v = Transpose<perm=[1,0,2,3]>(s) y = Conv(v, w)",
                 {"i": ints(3, 1, 0, 1).reshape(4, 1)}),
    "expand": ("m = GlobalAveragePool(b) s = Expand(m, i) y = Conv(s, w)", {"i": ints(1, 1, 2, 2)}),
    "tile": ("s = Tile(b, i) y = Conv(s, w)", {"i": ints(1, 1, 2, 1)}),
    "resize": (('s = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(b, , f) '
               "y = Conv(s, w)"), {"f": np.array([1, 1, 2, 2], np.float32)}),
    "resize to": ('s = Resize<mode="nearest">(b, , , i) y = Conv(s, w)', {"i": ints(1, 4, 9, 5)}),
    "shuffle": ("r = Reshape(b, i) t = Transpose<perm=[0,2,1,3,4]>(r) s = Reshape(t, j) y = Conv(s, w)",
                {"i": ints(0, 2, 2, 6, 6), "j": ints(0, 4, 6, 6)}),
    "split": ("s, t = Split<axis=1, num_outputs=2>(b) v = Concat<axis=1>(t, s) y = Conv(v, w)", {}),
    "squeeze": ("m = GlobalAveragePool(b) s = Squeeze(m, i) t = Unsqueeze(s, i) y = Conv(t, w)", {"i": ints(2, 3)}),
}  # fmt: skip


@pytest.mark.parametrize(("text", "constants"), CASES.values(), ids=CASES)
def test_moves(text: str, constants: dict[str, Any], exact: Callable[..., Any]) -> None:
    w = {"w": np.random.default_rng(3).normal(size=(5, 4, 1, 1)).astype(np.float32)} if ", w)" in text else {}
    found = exact(text, **constants, **w)
    assert found.floats == []
    assert not {"DequantizeLinear", "QuantizeLinear"} & {*found.kernels} - {"DequantizeLinear"}


def test_padding_with_another_number_stays_float(exact: Callable[..., Any]) -> None:
    found = exact("p = Pad(b, pads, v) y = MaxPool<kernel_shape=[2,2]>(p)", pads=PADS, v=np.float32(0.7))
    assert found.floats == ["Pad with another number than zero"]
