"""Graphs that a process of its own must answer for. What kills that process is refused here, and this one lives on."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardtemper.runtime.backends import trial
from hardtemper.runtime.backends.trial import try_graph
from hardtemper.runtime.errors import ModelError

N = helper.make_node


def model(nodes: list[Any], constants: dict[str, Any] | None = None, *, y: int = TensorProto.FLOAT) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 4])],
        [helper.make_tensor_value_info("y", y, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(onnx.ModelProto.SerializeToString(made))


@pytest.mark.parametrize("nodes", [
    [N("LRN", ["x"], ["y"], size=3)],
    [N("Shape", ["x"], ["s"]), N("Expand", ["x", "s"], ["y"])],
    [N("Reshape", ["x", "odd"], ["y"])],  # fails when it runs, which is an error like any other then
    [N("NoSuchOperator", ["x"], ["y"])],  # fails when it is opened, likewise
], ids=lambda nodes: nodes[-1].op_type)  # fmt: skip
def test_what_onnx_runtime_handles_passes(nodes: Any) -> None:
    try_graph(model(nodes, {"odd": np.array([3, 5])}), ["LRN"], what="file")


def test_what_ends_the_process_is_refused() -> None:
    """onnxruntime 1.32 aborts here; a version that refuses by itself passes the trial."""
    node = N("GatherND", ["f", "i"], ["y"], batch_dims=-100)
    try:
        try_graph(model([node], {"f": np.float32([1, 2]), "i": np.array([[0]])}), ["GatherND"], what="file")
    except ModelError as error:
        message = (
            r"file: tried in a process of its own for its GatherND; expected: a process that ends by itself; got: "
        )
        assert str(error).startswith(message)  # noqa: PT017 - by version


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")
@pytest.mark.parametrize("nodes", [
    [N("Range", ["zero", "much", "one"], ["r"]), N("Cast", ["r"], ["y"], to=1)],
    [N("Tile", ["x", "times"], ["y"])],
    [N("Resize", ["x", "", "", "size"], ["y"])],
    [N("OneHot", ["i", "much", "v"], ["y"])],
], ids=lambda nodes: nodes[0].op_type)  # fmt: skip
def test_what_takes_too_much_memory_is_refused(nodes: Any) -> None:
    constants: dict[str, Any] = {"zero": np.int64(0), "one": np.int64(1), "much": np.int64(2**31 - 1)}
    constants |= {"times": np.array([1, 1, 2**13, 2**12]), "size": np.array([1, 1, 2**16, 2**15])}
    constants |= {"i": np.array([0]), "v": np.float32([0, 1])}
    with pytest.raises(
        ModelError, match=r"expected: less than 1\.5 GiB for one image or the fixed batch; got: .*alloc"
    ):
        try_graph(model(nodes, constants), ["Range"], what="file")


def test_what_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0)
    with pytest.raises(
        ModelError, match=r"for its A, B, C \.\.\.; expected: an answer for one image within 0 s; got: none"
    ):
        try_graph(model([N("LRN", ["x"], ["y"], size=3)]), ["A", "B", "C", "D"], what="file")


def test_a_frozen_program_starts_no_copy_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started"))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ModelError, match="expected: a Python that starts others"):
        try_graph(b"", ["LRN"], what="file")


@pytest.mark.parametrize(("code", "got"), [(-11, "SIGSEGV"), (-99, "signal 99"), (3, "exit status 3: last")])
def test_how_it_ended(monkeypatch: pytest.MonkeyPatch, code: int, got: str) -> None:
    ended = subprocess.CompletedProcess([], code, b"", b"first\nlast\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(ModelError) as caught:
        try_graph(b"", ["LRN"], what="file")
    assert got in caught.value.got


def test_a_python_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ModelError, match="expected: a process that starts; got: No such file"):
        try_graph(b"", ["LRN"], what="file")
