from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
import torch

from hardtemper.export.twin.operators.supported import OPERATORS, SEVERAL
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError


def test_the_names_are_onnxs() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS) <= known
    assert list(OPERATORS) == sorted(OPERATORS)
    assert set(OPERATORS) >= SEVERAL


REFUSED = [
    ("t = Acosh(x) y = Relu(t)", "Acosh (acosh_0)"),
    ("t, i = MaxPool<kernel_shape=[1,1]>(x) j = Cast<to=1>(i) y = Add(t, j)", "MaxPool with 2 outputs (maxpool_0)"),
    ("t = Acosh(x) u = Asin(t) v = Acosh(u) y = Relu(v)", "Acosh (acosh_0, acosh_2), Asin (asin_1)"),
]


@pytest.mark.parametrize(("text", "got"), REFUSED)
def test_what_the_twin_does_not_know_is_listed(text: str, got: str, build: Callable[..., onnx.ModelProto]) -> None:
    model = build(text, inputs={"x": "float[N,4,6,6]"}, outputs={"y": "float[N,4,6,6]"})
    with pytest.raises(UnsupportedOperatorError) as raised:
        Twin(model)
    assert raised.value.got == got


@pytest.mark.parametrize(
    ("domain", "operator", "known"),
    [
        ("my", "Relu", False),
        ("com.microsoft", "Relu", False),
        ("my", "Constant", False),
        ("com.microsoft", "Gelu", True),
        ("ai.onnx", "Relu", True),
    ],
)
def test_operators_of_other_domains(domain: str, operator: str, known: bool) -> None:
    """A model's own function may have the name of an operator."""
    node = onnx.helper.make_node(operator, [] if operator == "Constant" else ["x"], ["y"], domain=domain)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4, 6, 6]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]))
    if known:
        assert Twin(model)(torch.zeros(1, 4, 6, 6)).shape == (1, 4, 6, 6)
        return
    with pytest.raises(UnsupportedOperatorError, match=rf"got: {domain}\.{operator}"):
        Twin(model)
