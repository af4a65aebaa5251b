"""A graph's digest covers the weights that lie beside it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from hardtemper.bench.graph_digest import digest_of, graph_files


def linear(path: Path, *, outside: bool) -> Path:
    """An ONNX file, its weights in it or beside it."""
    weights = onnx.numpy_helper.from_array(np.eye(9, dtype=np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 9])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 9])],
        [weights],
    )
    model = onnx.helper.make_model(graph)
    onnx.save(model, path, save_as_external_data=outside, location="weights.bin", size_threshold=0)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("outside", [False, True])
def test_the_digest_is_over_the_graph_and_its_weights_files(tmp_path: Path, outside: bool) -> None:
    path = linear(tmp_path / "model.onnx", outside=outside)
    files = (path, tmp_path / "weights.bin") if outside else (path,)
    assert graph_files(path) == files
    before = digest_of(path)
    assert before == sha256("".join(sha256(file.read_bytes()) for file in files).encode())
    files[-1].write_bytes(files[-1].read_bytes() + b"\0")
    assert digest_of(path) != before


@pytest.mark.parametrize("outside", [False, True])
def test_onnx_is_needed_for_weights_outside_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: bool
) -> None:
    path = linear(tmp_path / "model.onnx", outside=outside)
    digest = digest_of(path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    if outside:
        with pytest.raises(ModuleNotFoundError):
            digest_of(path)
    else:
        assert digest_of(path) == digest
