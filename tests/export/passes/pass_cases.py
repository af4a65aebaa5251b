"""What the tests of the passes share: a graph, what a pass makes of it, and that the function stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from hardtemper.export.passes.node_pass import NodePass

__all__ = ["MAP", "RNG", "Case", "check_case", "ints", "positive", "some", "zero_to"]

MAP = "float[N,4,6,6]"
RNG = np.random.default_rng(0)


def some(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> NDArray[np.float32]:
    return RNG.uniform(0.5, 2, shape).astype(np.float32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def zero_to(high: float) -> dict[str, NDArray[Any]]:
    return {"low": np.array(0, np.float32), "high": np.array(high, np.float32)}


class Case(NamedTuple):
    """`after` counts the operators that the pass leaves; None where it must leave all as they are.

    `reason` is that of the one node that is skipped; "" where the pass is not about any node that is left.
    """

    name: str
    text: str
    output: str
    constants: dict[str, NDArray[Any]]
    after: dict[str, int] | None
    input: str = MAP
    reason: str = ""


def check_case(step: NodePass[Any], case: Case, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    """The function stays, the operators change; what the pass refuses stays as it was, with a reason."""
    before = build(case.text, inputs={"x": case.input}, outputs={"y": case.output}, constants=case.constants)
    model = ir.from_proto(before)
    result = step(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)

    operators = Counter(node.op_type for node in after.graph.node)
    expected = Counter(node.op_type for node in before.graph.node) if case.after is None else Counter(case.after)
    assert operators == expected
    assert result.modified == (case.after is not None)
    assert [skip.reason for skip in step.skipped] == ([case.reason] if case.reason else [])
    assert all(skip.step == type(step).__name__ for skip in step.skipped)
    shape = [int(size) if size.isdigit() else 3 for size in case.input[6:-1].split(",")]
    x = 2 * some(*shape)
    np.testing.assert_allclose(run(after, {"x": x})[0], run(before, {"x": x})[0], rtol=1e-4, atol=1e-5)
