from __future__ import annotations

from typing import Any

import onnx
import pytest

from hardtemper.export.twin.operators.table import OPERATORS, SEVERAL, unknown_setting


def test_the_names_are_onnxs() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS) <= known
    assert list(OPERATORS) == sorted(OPERATORS)
    assert set(OPERATORS) >= SEVERAL


@pytest.mark.parametrize(
    ("operator", "attributes", "said"),
    [
        ("MaxPool", {"kernel_shape": [3]}, "kernel_shape [3]"),
        ("AveragePool", {"kernel_shape": [3, 3], "dilations": [2, 2]}, "dilations [2, 2]"),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]}, "pads [2, 2, 2, 2] beyond half the kernel"),
        ("Cast", {"to": onnx.TensorProto.STRING}, "to=STRING"),
        ("Pad", {"mode": b"wrap"}, "mode wrap"),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "dilations": [2, 2]}, ""),
        ("Cast", {"to": onnx.TensorProto.FLOAT}, ""),
        ("Pad", {}, ""),
        ("Relu", {}, ""),
    ],
)
def test_a_setting_that_is_not_known_is_named(operator: str, attributes: dict[str, Any], said: str) -> None:
    assert unknown_setting(operator, attributes) == said
