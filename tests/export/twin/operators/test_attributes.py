"""What is known of attributes, beside ONNX's own schemas: nothing that they have is in no table."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from hardtemper.export.twin.operators.attributes import AUDITED, KNOWN, LIMITS, SINCE, unknown_setting
from hardtemper.export.twin.operators.supported import OPERATORS
from hardtemper.export.twin.qoperators import QUANTIZED

UNKNOWN = {
    "AveragePool": {"dilations"},
    "BatchNormalization": {"spatial", "training_mode"},
    "GatherND": {"batch_dims"},
    "GroupNormalization": {"stash_type"},
    "LayerNormalization": {"stash_type"},
    "QuantizeLinear": {"block_size", "precision"},
    "Range": {"stash_type"},
    "Resize": {"antialias", "axes", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy"},
    **{f"Reduce{name}": {"noop_with_empty_axes"} for name in ("L1", "L2", "LogSum", "LogSumExp", "SumSquare")},
}
"""Attributes of ONNX's that the twin leaves out: with another value than their default, the operator is unknown."""

SCHEMAS = [
    schema
    for schema in onnx.defs.get_all_schemas_with_history()
    if schema.domain == "" and (schema.name in OPERATORS or schema.name in QUANTIZED)
]


def _in_use(schema: Any) -> bool:
    """Whether a graph of opset 7 or newer may have it."""
    later = [s.since_version for s in SCHEMAS if s.name == schema.name and s.since_version > schema.since_version]
    return min(later, default=1000) > max(7, SINCE.get(schema.name, 0))


def test_every_attribute_of_every_version_is_known_or_left_out() -> None:
    found: dict[str, set[str]] = {}
    for schema in filter(_in_use, SCHEMAS):
        left = set(schema.attributes) - KNOWN.get(schema.name, frozenset())
        found.setdefault(schema.name, set()).update(left)
    assert {name: left for name, left in found.items() if left} == UNKNOWN


def test_no_table_names_what_is_not_there() -> None:
    names = {*OPERATORS, *QUANTIZED}
    assert set(KNOWN) <= names
    assert set(LIMITS) <= names
    assert set(SINCE) <= names
    for operator, attributes in KNOWN.items():
        if schemas := [schema for schema in SCHEMAS if schema.name == operator]:
            assert attributes <= set().union(*(schema.attributes for schema in schemas)), operator


def test_every_opset_of_this_onnx_was_audited() -> None:
    assert onnx.defs.onnx_opset_version() <= AUDITED, "compare the operators that changed, then raise AUDITED"


_POOL = {"kernel_shape": [3, 3]}

SETTINGS: list[tuple[str, dict[str, Any], int, str]] = [
    ("AveragePool", _POOL | {"dilations": [2, 2]}, 22, "dilations=[2, 2]"),
    ("AveragePool", _POOL | {"pads": [2, 2, 2, 2]}, 22, "pads=[2, 2, 2, 2] beyond half the kernel"),
    ("MaxPool", {"kernel_shape": [3], "pads": [0, 2]}, 22, ""),
    ("MaxPool", {"kernel_shape": [2, 2, 2, 2]}, 22, "kernel_shape=[2, 2, 2, 2]"),
    ("MaxPool", _POOL | {"pads": [1, 1, 1, 1], "dilations": [2, 2]}, 22, ""),
    ("BatchNormalization", {"spatial": 0}, 7, "spatial=0"),
    ("BatchNormalization", {"spatial": 1}, 7, ""),
    ("BatchNormalization", {"training_mode": 1}, 15, "training_mode=1"),
    ("BatchNormalization", {"training_mode": 0, "momentum": 0.3}, 15, ""),
    ("BatchNormalization", {}, 6, "opset 6"),
    ("PRelu", {}, 6, "opset 6"),
    ("Cast", {"to": onnx.TensorProto.STRING}, 13, "to=STRING"),
    ("Cast", {"to": onnx.TensorProto.BFLOAT16}, 13, "to=BFLOAT16"),
    ("Cast", {"to": onnx.TensorProto.FLOAT, "saturate": 0}, 21, ""),
    ("LayerNormalization", {"stash_type": 11}, 17, "stash_type=11"),
    ("QuantizeLinear", {"block_size": 2}, 21, "block_size=2"),
    ("QuantizeLinear", {"precision": 1}, 23, "precision=1"),
    ("QuantizeLinear", {"output_dtype": onnx.TensorProto.FLOAT8E5M2}, 23, "output_dtype=FLOAT8E5M2"),
    ("DequantizeLinear", {"output_dtype": onnx.TensorProto.FLOAT16}, 23, "output_dtype=FLOAT16"),
    ("ReduceL2", {"noop_with_empty_axes": 1}, 18, "noop_with_empty_axes=1"),
    ("LRN", {"size": 4}, 13, "size=4"),
    ("Pad", {"mode": b"symmetric"}, 19, "mode=symmetric"),
    ("Resize", {"mode": b"nearest"}, 10, "opset 10"),
    ("Resize", {"mode": b"cubic"}, 18, "mode=cubic"),
    ("Resize", {"mode": b"nearest", "axes": [2, 3]}, 18, "axes=[2, 3]"),
    ("Resize", {"nearest_mode": b"ceil", "coordinate_transformation_mode": b"asymmetric"}, 18, ""),
    ("GatherND", {"batch_dims": 1}, 13, "batch_dims=1"),
    ("Relu", {"made_up": 1}, 14, "made_up=1"),
    ("Add", {"broadcast": 1}, 6, "broadcast=1"),
    ("RandomNormalLike", {"dtype": onnx.TensorProto.BFLOAT16}, 22, "dtype=BFLOAT16"),
    ("Relu", {}, 14, ""),
]


@pytest.mark.parametrize(("operator", "attributes", "opset", "said"), SETTINGS)
def test_a_setting_that_is_not_known_is_named(operator: str, attributes: dict[str, Any], opset: int, said: str) -> None:
    node = onnx.helper.make_node(operator, ["x"], ["y"], **attributes)
    assert unknown_setting(node, opset) == said


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "said"),
    [
        ("QLinearGlobalAveragePool", 5, {"channels_last": 1}, "channels_last=1"),
        ("QLinearGlobalAveragePool", 5, {"channels_last": 0}, ""),
        ("QLinearAdd", 7, {}, "no zero point of the result"),
        ("QLinearAdd", 8, {}, ""),
        ("QGemm", 9, {"alpha": 2.0}, ""),
        ("QGemm", 8, {}, "no zero point of the result"),
        ("QGemm", 7, {}, ""),
        ("DequantizeLinear", 3, {"axis": 0}, ""),
        ("Gelu", 1, {"approximate": b"none"}, ""),
    ],
)
def test_operators_of_microsoft(operator: str, inputs: int, attributes: dict[str, Any], said: str) -> None:
    """onnx has no schemas of them."""
    names = [f"i{n}" for n in range(inputs)]
    node = onnx.helper.make_node(operator, names, ["y"], domain="com.microsoft", **attributes)
    assert unknown_setting(node, 17) == said
