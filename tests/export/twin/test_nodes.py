from __future__ import annotations

import onnx
import pytest

from hardtemper.export.integer_types import IntegerType
from hardtemper.export.twin.nodes import INTEGERS, Node


@pytest.mark.parametrize("bits", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("signed", [False, True])
def test_the_ends_of_onnxs_integers(bits: int, signed: bool) -> None:
    kind = getattr(onnx.TensorProto, f"{'' if signed else 'U'}INT{bits}")
    ours = IntegerType(bits, signed=signed)
    assert INTEGERS[kind] == (ours.low, ours.high - ours.low + 1)


def test_a_node_needs_no_name() -> None:
    assert Node("Relu", ("x",), ("y",), {}).label == ""
