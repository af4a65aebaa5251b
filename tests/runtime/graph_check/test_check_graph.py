"""The whole check: networks pass, what is hostile is one ModelError, and nothing else ever comes out."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from hardtemper.runtime.errors import ModelError
from hardtemper.runtime.graph_check import check_graph as module
from hardtemper.runtime.graph_check.check_graph import check_graph

N = helper.make_node


def test_networks_pass(real_models: dict[str, bytes], classifier: Any) -> None:
    for name, content in real_models.items():
        assert check_graph(content, what=name) in ((), ("LRN",))
    assert check_graph(classifier.onnx(), what="classifier") == ()


def outside(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


@pytest.mark.parametrize(
    ("constant", "message"),
    [
        (outside("weights.bin"), "tensor 'w'; expected: data inside the file; got: data in the file 'weights.bin'"),
        (outside("/etc/passwd"), "data in the file '/etc/passwd'"),
        (outside("*/_ORT_MEM_ADDR_/*"), "data in the file '\\*/_ORT_MEM_ADDR_/\\*'"),
        (TensorProto(name="w", data_type=1, dims=[2**62], raw_data=b"1234"), f"tensor 'w'; expected: {2**64} bytes"),
        (TensorProto(name="w", data_type=8, dims=[1], string_data=[b"x"]), "tensor 'w'; .*; got: text"),
    ],
)
def test_tensors(make_model: Any, constant: TensorProto, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_graph(make_model([N("Add", ["x", "w"], ["y"])], {"w": constant}), what="file")
    constant.ClearField("name")
    with pytest.raises(ModelError, match=message):
        check_graph(make_model([N("Constant", [], ["w"], value=constant), N("Add", "xw", ["y"])]), what="file")


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"not ONNX", b"ORTM" * 10, b"\x08\x08", b"\xff" * 100, b"\x0a\x00" * 9]
)
def test_what_is_no_onnx(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"^file: no ONNX file; expected: a ModelProto; got: "):
        check_graph(content, what="file")


def test_a_file_of_too_many_fields(make_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_model([N("Relu", ["x"], ["y"])])
    monkeypatch.setattr(module, "MOST_FIELDS", 10)
    with pytest.raises(ModelError, match="too many fields"):
        check_graph(content, what="file")
    monkeypatch.setattr(module, "MOST_FILE_BYTES", len(content) - 1)
    with pytest.raises(ModelError, match=f"too large; expected: at most {len(content) - 1} bytes"):
        check_graph(content, what="file")


def test_every_rule_is_asked(make_model: Any) -> None:
    for nodes, message in (
        ([N("If", ["x"], ["y"])], "If"),
        ([N("Cast", ["x"], ["i"], to=7), N("Div", ["i", "i"], ["y"])], "Div of INT64"),
        ([N("Cast", ["x"], ["i"], to=7), N("Tile", ["x", "i"], ["y"])], "Tile: size 'i'"),
        ([N("ConstantOfShape", ["huge"], ["y"])], "too large"),
    ):
        with pytest.raises(ModelError, match=message):
            check_graph(make_model(nodes, {"huge": np.array([2**40])}), what="file")
    assert check_graph(make_model([N("LRN", ["x"], ["y"], size=3)]), what="file") == ("LRN",)


def judge(content: bytes) -> None:
    """A file passes or is one line; anything else gets out."""
    try:
        assert isinstance(check_graph(content, what="file"), tuple)
    except ModelError as error:
        assert str(error).isprintable()  # noqa: PT017 - any of many errors


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=400))
def test_any_bytes(content: bytes) -> None:
    judge(content)
    judge(b"\x3a" + bytes([len(content) & 0x7F]) + content[:0x7F])  # as a graph


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_networks(real_models: dict[str, bytes], classifier: Any, seed: int) -> None:
    draw = random.Random(seed)
    content = bytearray(
        draw.choice([classifier.onnx(), real_models["light_squeezenet"], real_models["light_zfnet512"]])
    )
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(content))
        if draw.random() < 0.7:
            content[at] = draw.randrange(256)
        else:
            content[at : at + draw.randint(0, 9)] = content[
                (start := draw.randrange(len(content))) : start + draw.randint(0, 9)
            ]
    judge(bytes(content))
