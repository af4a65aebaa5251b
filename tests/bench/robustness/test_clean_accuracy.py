"""Clean accuracy, and twin and engine on clean images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.report.report import SubjectReport
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.engine import open_onnx

FAST: dict[str, Any] = {"batches": (1, 3), "warmup": 0, "repeats": 3, "min_seconds": 0.0, "preset": "quick"}
ONE: dict[str, Any] = {"batches": (1,)}
THREAT = ThreatModel("linf", 10 / 255)


def settings(**changes: Any) -> BenchSettings:
    return BenchSettings(**{**FAST, "threat": THREAT, **changes})


def model_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return path


def mismatch(subject: SubjectReport, on: str) -> float:
    found = subject.find("twin-mismatch", on=on)
    assert found is not None
    return found.value


def cnn(path: Path, images: Any) -> None:
    """A random float CNN on [N, 1, 6, 6] whose mean logits over `images` are equal, so that each class occurs."""
    rng = np.random.default_rng(5)

    def tensor(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "w2", "b2"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["d"]),
            helper.make_node("Flatten", ["d"], ["e"]),
            helper.make_node("Gemm", ["e", "w3", "b3"], ["logits"], transB=1),
        ],
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [
            tensor("w1", 8, 1, 3, 3),
            tensor("b1", 8),
            tensor("w2", 16, 8, 3, 3),
            tensor("b2", 16),
            tensor("w3", 3, 144),
            numpy_helper.from_array(np.zeros(3, np.float32), "b3"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(-open_onnx(path)(images).mean(0), "b3"))
    onnx.save(model, path)


def quantize_static(source: Path, target: Path, images: Any) -> None:
    """What ONNX Runtime's own quantizer makes of a float model: Q/DQ with free scales."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.batches = iter([{"image": images.astype(np.float32) / 255}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_static(
            source,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )


@pytest.mark.parametrize("quantized", [False, True])
def test_mismatches_are_counted_against_the_file_itself(tmp_path: Path, data: Dataset, quantized: bool) -> None:
    path = tmp_path / "float.onnx"
    cnn(path, data.test.images)
    if quantized:
        path = tmp_path / "int8.onnx"
        quantize_static(tmp_path / "float.onnx", path, data.test.images)
    with torch.no_grad():
        twin = Twin(onnx.load(path))(torch.from_numpy(data.test.images).float() / 255).numpy()
    engine = open_onnx(path)(data.test.images)
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    assert mismatch(subject, "clean") == (twin != engine).any(1).sum()


def test_a_twin_that_is_not_the_engine_is_reported(
    tmp_path: Path, data: Dataset, three_classes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardtemper.bench import subjects

    other = onnx.load_from_string(three_classes.onnx(shift=0.125))
    monkeypatch.setattr(subjects, "Twin", lambda _, made=subjects.Twin: made(other))
    path = model_file(tmp_path, three_classes.onnx())
    (subject,) = run_bench(path, data, settings()).subjects
    assert mismatch(subject, "clean") == 40
    found = subject.find("twin-mismatch", on="candidates")
    assert found is not None
    assert found.value == found.n > 0
    assert found.settings["largest_difference"] == pytest.approx(0.125)
