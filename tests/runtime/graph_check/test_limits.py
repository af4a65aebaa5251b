from __future__ import annotations

from hardtemper.runtime.graph_check import limits
from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.wire import Wire


def test_networks_stay_far_below_the_limits(real_models: dict[str, bytes]) -> None:
    for content in real_models.values():
        wire = Wire(content, most=limits.MOST_FIELDS // 10)
        model = read_model(wire)
        assert 10 * len(model.nodes) < limits.MOST_NODES
        assert 10 * len(model.tensors) < limits.MOST_TENSORS
        assert 10 * len(model.inputs + model.outputs + model.described) < limits.MOST_VALUES


def test_what_the_limits_rest_on() -> None:
    assert limits.MOST_FILE_BYTES == 2**31 - 1
    assert limits.MOST_IMAGE_ELEMENTS <= limits.MOST_ELEMENTS
    assert limits.MOST_IMAGE_ELEMENTS > 512 * 3 * 256 * 256
    assert limits.MOST_CLASSES > 21_841
