"""The writer of packed graphs: the same bytes come out, and the file is near the entropy of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from hardtemper.export.graph_packing import pack_graph
from hardtemper.runtime.files.packed_graph import is_packed, unpack_graph

PATH = Path("model.onnx.packed")


def graph(*weights: np.ndarray) -> bytes:
    """A graph that has these initializers."""
    names = [f"w{index}" for index in range(len(weights))]
    nodes = [helper.make_node("Identity", [name], [f"{name}y"]) for name in names]
    kinds = [helper.np_dtype_to_tensor_dtype(array.dtype) for array in weights]
    outputs = [
        helper.make_tensor_value_info(f"{name}y", kind, array.shape)
        for name, kind, array in zip(names, kinds, weights, strict=True)
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in zip(names, weights, strict=True)]
    content: bytes = helper.make_model(helper.make_graph(nodes, "g", [], outputs, stored)).SerializeToString()
    return content


def entropy_bytes(weights: np.ndarray) -> float:
    """Shannon's bound for codes of single weights, in bytes."""
    counts = np.unique(weights, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum() * weights.size / 8)


def laplace(n: int, *, values: int, zeros: float) -> np.ndarray:
    """Weights of at most `values` different values, with a share of zeros."""
    rng = np.random.default_rng(values)
    weights = np.rint(rng.laplace(size=n) * 25).clip(-127, 127)
    if values < 255:
        book = np.quantile(weights, np.linspace(0.01, 0.99, values))
        weights = np.rint(book)[np.abs(weights[:, None] - book).argmin(axis=1)]
    weights[rng.random(n) < zeros] = 0
    return weights.astype(np.int8)


@pytest.mark.parametrize("values", [2, 4, 16, 32, 255])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9, 0.97])
def test_the_file_is_near_the_entropy(values: int, zeros: float) -> None:
    weights = laplace(100_000, values=values, zeros=zeros)
    whole = graph(weights.reshape(100, 1000))
    packed = pack_graph(whole)
    assert unpack_graph(packed, PATH) == whole
    bound, skeleton = entropy_bytes(weights), len(whole) - weights.size
    assert bound < len(packed) < bound + 0.06 * weights.size / 8 + 250 + skeleton


def test_all_kinds_of_tensors() -> None:
    rng = np.random.default_rng(0)
    whole = graph(
        rng.integers(-2, 2, 1000).astype(np.int8),
        rng.normal(size=100).astype(np.float32),
        rng.integers(0, 4, (10, 100)).astype(np.uint8),
        np.zeros(1000, np.int8),
        np.zeros(0, np.int8),
        np.ones(20, np.int8),
        rng.integers(-128, 128, 5000).astype(np.int8),
    )
    packed = pack_graph(whole)
    assert unpack_graph(packed, PATH) == whole
    assert len(packed) < 0.8 * len(whole)


def test_weights_of_four_bits_are_packed_too() -> None:
    weights = helper.make_tensor("w0", TensorProto.INT4, [4000], np.zeros(2000, np.uint8).tobytes(), raw=True)
    model = onnx.load_model_from_string(graph(np.zeros(4, np.int8)))
    model.graph.initializer.append(weights)
    whole = model.SerializeToString()
    assert len(pack_graph(whole)) < len(whole) - 1500


@pytest.mark.parametrize("content", [b"", graph(np.random.default_rng(0).integers(-128, 128, 40).astype(np.int8))])
def test_what_gains_nothing_comes_as_it_is(content: bytes) -> None:
    assert pack_graph(content) == content
    assert not is_packed(pack_graph(content))


def test_what_a_reader_takes_for_a_bomb_comes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = graph(np.zeros(100_000, np.int8))
    assert is_packed(pack_graph(whole))
    monkeypatch.setattr("hardtemper.runtime.files.packed_graph.SMALL_BYTES", 1000)
    assert pack_graph(whole) == whole


@settings(max_examples=60)
@given(
    st.lists(
        hnp.arrays(np.int8, st.integers(0, 700), elements=st.sampled_from([0, 0, 0, 1, -7, 127, -128])), max_size=4
    )
)
def test_any_weights_come_back(weights: list[np.ndarray]) -> None:
    whole = graph(*weights)
    packed = pack_graph(whole)
    assert (unpack_graph(packed, PATH) if is_packed(packed) else packed) == whole
