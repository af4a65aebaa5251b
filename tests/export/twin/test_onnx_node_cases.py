"""ONNX's own test cases of single operators, of every opset from 7 to the newest: each is computed, or said not to be.

`LEFT_OUT` has the reason of every case that the twin refuses, by what it says.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hardtemper.export.twin.execution import node_plan
from hardtemper.export.twin.graph import read_names, read_nodes, refuse_unknown
from hardtemper.export.twin.graph_constants import read_constants
from hardtemper.export.twin.operators.random import NOISE
from hardtemper.export.twin.running import run
from hardtemper.export.twin.values.scaled import dense
from hardtemper.runtime.errors import UnsupportedOperatorError

pytestmark = pytest.mark.slow

LEFT_OUT = {
    r"'UInt(16|32|64)'": "torch does not compute with unsigned integers of more than 8 bits",
    r"expected: training_mode false": "a Dropout that drops",
    r"Expected reduction dim \d+ to have non-zero size": "the largest of nothing",
}
"""What shows only when it runs; what a graph says beforehand is in test_attributes.py."""

STORED = {"int4": np.int8, "uint4": np.uint8}


def _tensor(array: Any) -> Tensor:
    array = np.asarray(array)
    return torch.from_numpy(np.array(array.astype(STORED.get(array.dtype.name, array.dtype))))


def _types_that_torch_has(arrays: Sequence[Any]) -> bool:
    return all(
        isinstance(array, np.ndarray | np.generic)
        and (array.dtype.kind in "fiub" or array.dtype.name in STORED)
        and "float8" not in array.dtype.name
        for array in arrays
    )


def test_onnxs_own_cases() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, while ONNX computes what is right
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    wrong, computed, left_out = [], 0, set()
    for case in cases:
        try:
            refuse_unknown(case.model)
        except UnsupportedOperatorError:
            continue
        graph = case.model.graph
        if NOISE.intersection(node.op_type for node in graph.node):
            continue  # no two draws are the same: test_random.py
        names = [value.name for value in graph.input]
        for inputs, outputs in case.data_sets or []:
            if not _types_that_torch_has([*inputs, *outputs]):
                continue
            constants = read_constants(graph, read_names(graph))
            plan = node_plan(read_nodes(case.model, constants))
            given = {name: _tensor(array) for name, array in zip(names, inputs, strict=True)}
            name = graph.output[0].name
            try:
                with torch.no_grad():
                    found = dense(run(plan, given, lambda name: _tensor(constants[name]), {name})[name]).numpy()  # noqa: B023
            except UnsupportedOperatorError as error:
                reasons = [reason for pattern, reason in LEFT_OUT.items() if re.search(pattern, str(error))]
                left_out.update(reasons)
                wrong += [] if reasons else [f"{case.name}: {error}"]
                continue
            computed += 1
            if not _equal(found, _tensor(outputs[0]).numpy()):
                wrong.append(case.name)
    assert wrong == []
    assert computed >= 800
    assert left_out == set(LEFT_OUT.values())


def _equal(found: Any, expected: Any) -> bool:
    half = expected.dtype == np.float16
    exact = expected.dtype.kind in "iub"
    tolerance = 0.0 if exact else 2e-3 if half else 1e-3
    return found.shape == expected.shape and bool(
        np.allclose(found.astype(np.float64), expected.astype(np.float64), tolerance, tolerance / 10, equal_nan=True)
    )
