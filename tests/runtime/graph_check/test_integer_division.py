"""Divisions that can end the process are refused, and no others; ONNX Runtime itself ends a process where it must."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from hardtemper.runtime.errors import ModelError
from hardtemper.runtime.graph_check.integer_division import check_division
from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.wire import Wire

N = helper.make_node
LEAST = np.array([-(2**63)])
SHAPE = [N("Shape", ["x"], ["s"]), N("Gather", ["s", "one"], ["c"])]
ONE = {"one": np.array([1])}


def check(content: bytes) -> None:
    wire = Wire(content, most=1_000_000)
    check_division(wire, read_model(wire), what="file")


def typed(values: list[int], kind: int = TensorProto.INT64) -> Any:
    return helper.make_tensor("d", kind, [len(values)], values)


@pytest.mark.parametrize("operator", ["Div", "Mod"])
@pytest.mark.parametrize("divisor", [
    np.array([0]), np.array([-1]), np.array([2, 3, -1]), np.array([0], np.uint8), np.array([-1], np.int32), np.int64(0),
    typed([0]), typed([-1]), typed([-1], TensorProto.INT32), typed([1, -1]), typed([3] * 70_000),
], ids=lambda value: str(value)[:20])  # fmt: skip
def test_a_constant_that_holds_zero_or_minus_one(make_model: Any, operator: str, divisor: Any) -> None:
    content = make_model([N(operator, ["a", "d"], ["y"])], {"a": LEAST, "d": divisor})
    with pytest.raises(ModelError, match=rf"file: {operator} of INT64 to 'y'; expected: a constant divisor"):
        check(content)


CAST = N("Cast", ["x"], ["d"], to=TensorProto.INT64)
REFUSED = [
    # nodes that make the divisor d of integers a
    [CAST],
    [N("Constant", [], ["d"], value_int=-1)],
    [N("Constant", [], ["d"], value_int=0)],
    [N("Constant", [], ["d"], value_ints=[4, 0])],
    [N("Constant", [], ["d"], value=typed([-1]))],
    [N("Constant", [], ["m"], value_ints=[-1]), N("Identity", ["m"], ["d"])],
    [N("Sub", ["one", "two"], ["d"])],
    [N("Mul", ["s", "s"], ["d"])],
    [N("Concat", ["one", "minus"], ["d"], axis=0)],
    [N("Where", ["x", "one", "minus"], ["d"])],
    [N("Cast", ["wide"], ["d"], to=TensorProto.INT32)],
    [N("Cast", ["unsigned"], ["d"], to=TensorProto.INT64)],
    [N("Cast", ["half"], ["d"], to=TensorProto.INT64)],
    [N("ConstantOfShape", ["one"], ["d"], value=typed([5]))],
    [N("NoSuchOperator", ["x"], ["d"])],
    [],
]


@pytest.mark.parametrize("nodes", REFUSED, ids=lambda nodes: " ".join(node.op_type for node in nodes))
def test_a_divisor_that_is_computed_or_wrong(make_model: Any, nodes: Any) -> None:
    constants = ONE | {"a": LEAST, "two": np.array([2]), "minus": np.array([-1]), "wide": np.array([2**32 - 1])}
    constants |= {"unsigned": np.array([2**64 - 1], np.uint64), "half": np.float32([0.5])}
    content = make_model([*SHAPE, *nodes, N("Div", ["a", "d"], ["y"])], constants)
    with pytest.raises(ModelError, match="Div of INT64"):
        check(content)


def test_a_type_that_cannot_be_told_is_an_integers(make_model: Any) -> None:
    nodes = [N("NoSuchOperator", ["x"], ["a", "d"]), N("Div", ["a", "d"], ["y"])]
    with pytest.raises(ModelError, match=r"numbers of a type that cannot be told to 'y'.*'d', which is computed"):
        check(make_model(nodes))


ALLOWED = [
    [N("Div", ["x", "x"], ["y"])],
    [N("Relu", ["x"], ["r"]), N("Div", ["r", "f"], ["y"])],
    [N("NoSuchOperator", ["x"], ["u"]), N("Div", ["u", "f"], ["y"])],
    [N("Cast", ["x"], ["i"], to=TensorProto.INT64), N("Div", ["i", "two"], ["y"])],
    [N("Cast", ["x"], ["i"], to=TensorProto.INT64), N("Mod", ["i", "minus two"], ["y"])],
    [*SHAPE, N("Add", ["c", "one"], ["n"]), N("Div", ["n", "two"], ["y"])],  # torch.chunk
    [*SHAPE, N("Div", ["c", "c"], ["y"])],
    [*SHAPE, N("Unsqueeze", ["c", "one"], ["u"]), N("Concat", ["two", "u"], ["n"], axis=0), N("Mod", "nn", ["y"])],
    [N("Constant", [], ["d"], value_ints=[2, 3]), N("Div", ["two", "d"], ["y"])],
    [N("Constant", [], "d", value=typed([7], 6)), N("Cast", "d", "e", to=7), N("Div", ["two", "e"], ["y"])],
    [N("Cast", ["two"], ["i"], to=TensorProto.FLOAT), N("Div", ["i", "x"], ["y"])],
]  # fmt: skip


@pytest.mark.parametrize("nodes", ALLOWED, ids=lambda nodes: " ".join(node.op_type for node in nodes))
def test_ordinary_divisions(make_model: Any, nodes: Any) -> None:
    constants = ONE | {"two": np.array([2]), "minus two": np.array([-2]), "f": np.float32([0])}
    check(make_model(nodes, constants))


def test_whole_networks(real_models: dict[str, bytes]) -> None:
    for content in real_models.values():
        check(content)


_OPEN = (
    "import sys, onnxruntime as ort; o = ort.SessionOptions(); o.log_severity_level = 4; "
    "ort.InferenceSession(sys.stdin.buffer.read(), o, providers=['CPUExecutionProvider'])"
)


def test_what_is_refused_ends_the_process_in_onnx_runtime(make_model: Any) -> None:
    """On x86. Should this fail, ONNX Runtime may have mended it, and the rule can be looked at again."""
    content = make_model([N("Div", ["a", "d"], ["y"])], {"a": LEAST, "d": np.array([-1])})
    child = subprocess.run([sys.executable, "-c", _OPEN], input=content, capture_output=True, check=False)
    trapped = getattr(signal, "SIGFPE", 8)
    assert child.returncode in (0, 1, -trapped)
