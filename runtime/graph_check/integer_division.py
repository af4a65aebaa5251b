"""Integers are divided only where the processor cannot trap.

Rule: INT_MIN / -1 has no answer in two's complement. On x86 it ends the process with SIGFPE, in ONNX Runtime's Div of
int32 and int64 as well (1.32, at load where the operands are constants); in 1.20 the same holds for Mod, and for a
divisor of 0. So the divisor of an integer Div or Mod is a constant that holds neither, moved about at most, or the size
of something (Shape, Size), which is never negative and is tried as it is (`backends/trial.py`). Floats divide as they
like; a type that cannot be told is taken for an integer's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .contents import shown
from .element_types import UNKNOWN, constant_of, element_types
from .onnx_records import Model, Node
from .tensor_data import ELEMENT_TYPES, FLOATS, integers
from .wire import Wire

__all__ = ["check_division"]

_INT64, _UINT64 = 7, 13

# fmt: off
_MOVES = frozenset({
    "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
})
"""Each output holds values of the first input and no others."""
# fmt: on


class _Facts(NamedTuple):
    """What is known of an integer value: that no element is 0 or -1, and that none is below 0."""

    divides: bool = False
    no_minus: bool = False


_NOTHING = _Facts()


def check_division(wire: Wire, model: Model, *, what: str) -> None:
    """Refuse a graph that breaks the module's rule.

    Args:
        wire: the file.
        model: read from it; its tensors' data fit their shapes.
        what: the file, for the error.

    Raises:
        ModelError: it does.
    """
    if not any(node.op_type in (b"Div", b"Mod") for node in model.nodes):
        return
    types = element_types(model)
    facts = {tensor.name: _facts(integers(wire, tensor)) for tensor in model.tensors}
    for node in model.nodes:
        if node.op_type in (b"Div", b"Mod"):
            _check(node, facts, types, what)
        found = _output(wire, node, facts, types)
        if found != _NOTHING or node.op_type == b"Constant":
            facts |= dict.fromkeys(node.outputs, found)


def _check(node: Node, facts: dict[bytes, _Facts], types: dict[bytes, int], what: str) -> None:
    if len(node.inputs) != 2 or any(types.get(name) in FLOATS for name in node.inputs):
        return  # one of them float, both are, or ONNX Runtime refuses them
    known = facts.get(node.inputs[1])
    if known is not None and (known.divides or known.no_minus):
        return
    kind = next((types[name] for name in node.inputs if types.get(name)), UNKNOWN)
    of = ELEMENT_TYPES[kind].name if kind in ELEMENT_TYPES else "numbers of a type that cannot be told"
    raise ModelError(
        f"{what}: {node.op_type.decode()} of {of} to {shown(node.outputs[0]) if node.outputs else 'nothing'}",
        expected="a constant divisor without 0 and -1, since integers divided by these can end the process",
        got="a divisor that holds 0 or -1" if known is not None else f"{shown(node.inputs[1])}, which is computed",
        fix="divide floats (Cast), or by another constant",
    )


def _output(wire: Wire, node: Node, facts: dict[bytes, _Facts], types: dict[bytes, int]) -> _Facts:
    """What is known of a node's outputs."""
    op_type = node.op_type.decode()
    if op_type in ("Shape", "Size"):
        return _Facts(no_minus=True)
    if op_type == "Constant":
        return _constant(wire, node)
    inputs = [facts.get(name, _NOTHING) for name in node.inputs]
    if op_type == "Concat" and inputs:
        return _Facts(all(one.divides for one in inputs), all(one.no_minus for one in inputs))
    if op_type == "Cast" and inputs:
        # a narrower type can make -1 of another number; every other integer keeps its value in 64 bits
        widened = types.get(node.outputs[0]) == _INT64 if node.outputs else False
        return inputs[0] if widened and types.get(node.inputs[0], _UINT64) != _UINT64 else _NOTHING
    return inputs[0] if op_type in _MOVES and inputs else _NOTHING


def _constant(wire: Wire, node: Node) -> _Facts:
    tensor = constant_of(node)
    if tensor is not None:
        return _facts(integers(wire, tensor))
    one, several = node.attributes.get(b"value_int"), node.attributes.get(b"value_ints")
    if one is None and several is None:
        return _NOTHING
    return _facts(np.array([one.number or 0] if one is not None else several.numbers if several else [], np.int64))


def _facts(values: NDArray[Any] | None) -> _Facts:
    if values is None:
        return _NOTHING
    return _Facts(divides=not bool(((values == 0) | (values == -1)).any()), no_minus=bool((values > 0).all()))
