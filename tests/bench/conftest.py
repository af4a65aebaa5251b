"""Linear classifiers as ONNX files, bundles and NumPy: what every attack can do to them is known in closed form.

Beside them a random CNN, what ONNX Runtime's own quantizer makes of it, and the settings of a run that takes seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Dataset, Splits, divide
from hardtemper.bench.report.report import SubjectReport
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.engine import open_onnx

SHAPE = (1, 6, 6)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """logits = weights @ pixels * 2^-12, weights integers [K, D]: exact in float32 in any order."""

    weights: NDArray[np.int64]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert pixels.dtype == np.uint8
        return (pixels.reshape(len(pixels), -1).astype(np.int64) @ self.weights.T / 4096).astype(np.float32)

    def withstands(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], radius: int) -> NDArray[np.bool_]:
        """Which images no change of at most `radius` levels a pixel can break: each rival's best corner is checked."""
        flat = pixels.reshape(len(pixels), -1).astype(np.int64)
        robust = np.ones(len(pixels), bool)
        for rival in range(len(self.weights)):
            towards = np.sign(self.weights[rival] - self.weights[labels])
            corner = np.clip(flat + radius * towards, 0, 255)
            margin = (corner * (self.weights[labels] - self.weights[rival])).sum(1)
            robust &= (margin > 0) | ((margin == 0) & (labels <= rival))
        return robust

    def onnx(self, *, dtype: str = "uint8", batch: int | str = "N", softmax: bool = False, shift: float = 0.0) -> bytes:
        """As a graph of uint8 pixels, or of float pixels / 255; `shift` is added to the last logit."""
        scale = np.float32(2**-12 if dtype == "uint8" else 255 * 2**-12)
        first = (
            helper.make_node("DequantizeLinear", ["image", "scale"], ["x"])
            if dtype == "uint8"
            else helper.make_node("Mul", ["image", "scale"], ["x"])
        )
        last = "scores" if softmax else "logits"
        nodes = [
            first,
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], [last]),
        ]
        if softmax:
            nodes.append(helper.make_node("Softmax", ["scores"], ["logits"], axis=1))
        bias = np.zeros(len(self.weights), np.float32)
        bias[-1] = shift
        kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("image", kind, [batch, *SHAPE])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(self.weights)])],
            [
                numpy_helper.from_array(scale, "scale"),
                numpy_helper.from_array(self.weights.T.astype(np.float32), "w"),
                numpy_helper.from_array(bias, "b"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(onnx.ModelProto.SerializeToString(model))


def linear(classes: int, seed: int = 0) -> Linear:
    size = int(np.prod(SHAPE))
    return Linear(weights=np.random.default_rng(seed).integers(-15, 16, (classes, size)))


def draw(model: Linear, count: int, seed: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels that the model gets right, save for about a tenth of them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    labels = model(images).argmax(1).astype(np.int64)
    wrong = rng.random(count) < 0.1
    return images, np.where(wrong, (labels + 1) % len(model.weights), labels)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Batches this small lose more to waiting threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def two_classes() -> Linear:
    return linear(2)


@pytest.fixture(scope="session")
def three_classes() -> Linear:
    return linear(3)


@pytest.fixture(scope="session")
def data(three_classes: Linear) -> Dataset:
    """40 test images for `three_classes`."""
    images, labels = draw(three_classes, 40)
    splits = Splits(
        name="toy",
        classes=("0", "1", "2"),
        train_images=images[:3],
        train_labels=np.arange(3),
        test_images=images,
        test_labels=labels,
        source="drawn",
    )
    return divide(splits, heldout=0, calibration=0, seed=0)


@pytest.fixture(scope="session")
def make_bundle(
    tmp_path_factory: pytest.TempPathFactory, three_classes: Linear, write_toy: Callable[..., Path]
) -> Callable[..., Path]:
    """Writes a bundle of `three_classes` with a dense network that says something else."""

    def make(
        *,
        dense: bytes | None = None,
        recipe: dict[str, object] | None = None,
        graph: bytes | None = None,
        classes: tuple[str, ...] = ("0", "1", "2"),
    ) -> Path:
        files: dict[str, Path | bytes] = {"model.onnx": graph or three_classes.onnx()}
        if dense is not None:
            files["dense.onnx"] = dense
        path = tmp_path_factory.mktemp("bundle") / "toy"
        return write_toy(path, files, shape=SHAPE, classes=classes, recipe=recipe or {})

    return make


@pytest.fixture(scope="session")
def settings() -> Callable[..., BenchSettings]:
    """Makes the settings of a run that takes seconds, changed where a test asks."""

    def make(**changes: Any) -> BenchSettings:
        fast: dict[str, Any] = {"batches": (1, 3), "warmup": 0, "repeats": 3, "min_seconds": 0.0, "preset": "quick"}
        return BenchSettings(**{**fast, "threat": ThreatModel("linf", 10 / 255), **changes})

    return make


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a graph as model.onnx."""

    def write(content: bytes) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="session")
def value() -> Callable[..., float]:
    """The value of a measurement that a report must have."""

    def find(subject: SubjectReport, name: str, **settings: Any) -> float:
        found = subject.find(name, **settings)
        assert found is not None
        return found.value

    return find


@pytest.fixture(scope="session")
def other_data() -> Callable[..., Dataset]:
    """Makes four black images, of the shape and the classes that a test asks for."""

    def make(*, shape: tuple[int, ...] = (1, 6, 6), classes: tuple[str, ...] = ("0", "1", "2")) -> Dataset:
        images = np.zeros((4, *shape), np.uint8)
        labels = np.zeros(4, np.int64)
        splits = Splits(
            name="other",
            classes=classes,
            train_images=images,
            train_labels=labels,
            test_images=images,
            test_labels=labels,
            source="drawn",
        )
        return divide(splits, heldout=0, calibration=0, seed=0)

    return make


@pytest.fixture(scope="session")
def cnn() -> Callable[[Path, Any], None]:
    """Writes a random float CNN on [N, 1, 6, 6] whose mean logits over `images` are equal: each class occurs."""

    def write(path: Path, images: Any) -> None:
        rng = np.random.default_rng(5)

        def tensor(name: str, *shape: int) -> Any:
            return numpy_helper.from_array(
                rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32), name
            )

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

    return write


@pytest.fixture(scope="session")
def quantize_static() -> Callable[..., None]:
    """What ONNX Runtime's own quantizer makes of a float model: Q/DQ with free scales."""

    def run(source: Path, target: Path, images: Any, *, per_channel: bool = True) -> None:
        """With unsigned activations and a scale a channel, or with the quantizer's defaults."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from onnxruntime import quantization

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                self.batches = iter([{"image": images.astype(np.float32) / 255}])

            def get_next(self) -> Any:
                return next(self.batches, None)

        unsigned, signed = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
        how = {"activation_type": unsigned, "weight_type": signed, "per_channel": True} if per_channel else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantization.quantize_static(source, target, Reader(), quant_format=quantization.QuantFormat.QDQ, **how)

    return run
