"""ONNX files made by the package onnx, whose own reading of them is the oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardtemper.runtime.graph_check.onnx_model import read_model
from hardtemper.runtime.graph_check.sizes import check_sizes
from hardtemper.runtime.graph_check.wire import Wire

MakeModel = Callable[..., bytes]


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """An ONNX file of nodes; x is float32 [N, 1, 4, 4] unless `x` says otherwise, constants are arrays or tensors."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        constants: Mapping[str, Any] | None = None,
        *,
        x: tuple[int, Sequence[Any]] = (TensorProto.FLOAT, ("N", 1, 4, 4)),
        outputs: Sequence[str] = ("y",),
        opset: int = 17,
        change: Callable[[onnx.ModelProto], object] = lambda model: None,
    ) -> bytes:
        tensors = [
            value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
            for name, value in (constants or {}).items()
        ]
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("x", x[0], x[1])],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            tensors,
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        change(model)
        return bytes(model.SerializeToString())

    return make


@pytest.fixture(scope="session")
def real_models() -> dict[str, bytes]:
    """The networks that the package onnx brings: nine architectures, their weights left out (ConstantOfShape)."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.onnx"))}


@pytest.fixture(scope="session")
def sizes_agree(make_model: MakeModel) -> Callable[..., bool]:
    """Whether the sizes that are told of a node's outputs are those that come out of ONNX Runtime.

    Those that are not told agree, unless `told` asks for them; what ONNX Runtime refuses agrees with anything.
    """

    def agree(
        node: onnx.NodeProto, shape: Sequence[int], constants: Mapping[str, Any] | None = None, *, told: bool = False
    ) -> bool:
        content = make_model([node], constants, x=(TensorProto.FLOAT, shape), outputs=list(node.output))
        wire = Wire(content, most=10_000)
        found = check_sizes(wire, read_model(wire), what="file").shapes
        expected = _computed(content, shape)
        if expected is None:
            return not told
        names = [name.encode() for name in node.output]
        return [found.get(name, () if told else size) for name, size in zip(names, expected, strict=True)] == expected

    return agree


def _computed(content: bytes, shape: Sequence[int]) -> list[tuple[int, ...]] | None:
    """The shapes that come out of ONNX Runtime; None where it refuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        return [value.shape for value in session.run(None, {"x": np.zeros(shape, np.float32)})]
    except Exception:  # its exceptions share no base class of their own
        return None
