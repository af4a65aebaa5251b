"""A linear classifier whose logits NumPy can compute exactly, as ONNX and as a bundle."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hardtemper.runtime.cpu import instruction_set

SHAPE = (1, 8, 8)
CLASSES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """logits = (pixels * 2^-8) @ (weights * 2^-7): every product and sum is exact in float32, in any order."""

    weights: NDArray[np.int8]

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        exact = pixels.reshape(len(pixels), len(self.weights)).astype(np.int64) @ self.weights.astype(np.int64)
        return (exact / 2**15).astype(np.float32)

    def onnx(
        self,
        *,
        dtype: str = "uint8",
        batch: int | str = "N",
        shape: tuple[Any, ...] = SHAPE,
        logits: tuple[Any, ...] | None = ("N", CLASSES),
    ) -> bytes:
        """As an ONNX file; a float input is pixels / 255, so its logits are those of `logits` times 256 / 255."""
        nodes = [
            helper.make_node("DequantizeLinear", ["weights", "weight_scale"], ["w"]),
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["logits"]),
        ]
        if dtype == "uint8":
            nodes.insert(0, helper.make_node("DequantizeLinear", ["image", "pixel_scale"], ["x"]))
        else:
            nodes.insert(0, helper.make_node("Identity", ["image"], ["x"]))
        kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
        if logits is not None and isinstance(batch, int):
            logits = (batch, *logits[1:])
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("image", kinds[dtype], [batch, *shape])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
            [
                numpy_helper.from_array(np.float32(2**-8), "pixel_scale"),
                numpy_helper.from_array(np.float32(2**-7), "weight_scale"),
                numpy_helper.from_array(self.weights, "weights"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(onnx.ModelProto.SerializeToString(model))


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    size = int(np.prod(SHAPE))
    return Classifier(weights=np.random.default_rng(0).integers(-63, 64, (size, CLASSES), np.int8))


@pytest.fixture
def manifest_value() -> dict[str, Any]:
    """A manifest as JSON values, without files; every call gives a fresh one."""
    return {
        "format_version": 1,
        "name": "linear",
        "input": {"shape": list(SHAPE), "dtype": "uint8", "name": "image"},
        "output": {"classes": [f"class {index}" for index in range(CLASSES)], "name": "logits"},
        "graph": "graph.onnx",
        "dense": "dense/model.onnx",
        "files": [],
        "provenance": {
            "created": "2025-01-31T12:00:00Z",
            "recipe": {"seed": 7, "stages": [{"kind": "prune", "ratio": 0.5}, None, True]},
            "seed": 7,
            "versions": {"hardtemper": "0.1.0"},
            "instruction_set": instruction_set(),
            "cpu": "any",
        },
        "quantization": {
            "target": "cpu",
            "scales": "power-of-two",
            "activation_type": "uint8",
            "activation_bits": 8,
            "weight_type": "int8",
            "weight_bits": 8,
        },
        "layers": [{"name": "conv1", "kept": 8, "of": 16}, {"name": "fc", "skipped": "the classifier"}],
        "measurements": [{"name": "latency", "value": 1.25, "unit": "ms", "n": 100}],
        "proofs": {"parity": {"mismatches": 0, "of": 1000}},
    }


@pytest.fixture
def make_bundle(tmp_path: Path, classifier: Classifier, manifest_value: dict[str, Any]) -> Callable[..., Path]:
    """Writes a bundle by hand, not by `write_bundle`: the reader's tests do not lean on the writer."""

    def make(*, graph: bytes | None = None, **changes: Any) -> Path:
        folder = tmp_path / "linear.bundle"
        contents = {
            "graph.onnx": classifier.onnx() if graph is None else graph,
            "dense/model.onnx": classifier.onnx(dtype="float32"),
        }
        manifest = manifest_value | {"files": []} | changes
        for relative, content in contents.items():
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / relative).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            manifest["files"].append({"path": relative, "sha256": digest, "bytes": len(content)})
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def gpu() -> Any:
    """The module `fake_gpu.py`: a device and a TensorRT for a machine that has neither."""
    spec = importlib.util.spec_from_file_location("fake_gpu", Path(__file__).with_name("fake_gpu.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
