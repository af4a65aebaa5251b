"""Runs the steps of a plan. What a step cannot compute is said in one line that names the operator and its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ...runtime.errors import HardtemperError, UnsupportedOperatorError
from .execution import Plan, Step
from .nodes import BLACK_BOX
from .values.scaled import Value

__all__ = ["run"]


_NO_MEMORY = "can't allocate memory"
"""In the message of torch's RuntimeError on the CPU."""


def run(plan: Plan, given: Mapping[str, Value], constant: Callable[[str], Value], wanted: set[str]) -> dict[str, Value]:
    """The values of the names in `wanted`.

    Args:
        plan: what to do.
        given: values beside those that the plan knows.
        constant: the value of a name that no step writes.
        wanted: names of values.

    Raises:
        UnsupportedOperatorError: a step cannot be computed.
    """
    values: dict[str, Value] = {**plan.known, **given}
    kept = {name: values[name] for name in wanted if name in values}
    left = dict(plan.readers)
    for step in plan.steps:
        arguments = [None if not name else values[name] if name in values else constant(name) for name in step.inputs]
        # what nobody reads has no name
        values.update(zip(step.outputs, _results(step, arguments), strict=False))
        kept.update({name: values[name] for name in step.outputs if name in wanted})
        for name in step.inputs:
            left[name] -= 1
            if left[name] == 0:
                values.pop(name, None)
    return {name: kept[name] if name in kept else constant(name) for name in wanted}


def _results(step: Step, arguments: list[Any]) -> tuple[Value, ...]:
    try:
        result = step.operator(*arguments)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except HardtemperError as error:
        what = f"{step.label}: {error.what}"
        raise UnsupportedOperatorError(what, expected=error.expected, got=error.got, fix=BLACK_BOX) from error
    except Exception as error:  # a graph from anywhere may break an operator's assumptions in any way
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        if _NO_MEMORY in reason:
            raise MemoryError(reason) from error
        what = f"{step.label}: the twin cannot compute it"
        raise UnsupportedOperatorError(what, got=reason, fix=BLACK_BOX) from error
    return result if isinstance(result, tuple) else (result,)
