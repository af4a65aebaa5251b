"""Linear classifiers as ONNX files, bundles and NumPy: what every attack can do to them is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.data.dataset import Dataset, Splits, divide
from hardtemper.export.bundle_writer import write_bundle
from hardtemper.runtime.bundle.manifest import Input, Output, Provenance
from hardtemper.runtime.cpu import instruction_set

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
def make_bundle(tmp_path_factory: pytest.TempPathFactory, three_classes: Linear) -> Callable[..., Path]:
    """Writes a bundle of `three_classes` with a dense network that says something else."""

    def make(
        *,
        dense: bytes | None = None,
        recipe: dict[str, object] | None = None,
        graph: bytes | None = None,
        classes: tuple[str, ...] = ("0", "1", "2"),
    ) -> Path:
        path = tmp_path_factory.mktemp("bundle") / "toy"
        files: dict[str, Path | bytes] = {"model.onnx": graph or three_classes.onnx()}
        if dense is not None:
            files["dense.onnx"] = dense
        write_bundle(
            path,
            name="toy",
            input=Input(shape=SHAPE, name="image"),
            output=Output(classes=classes, name="logits"),
            graph="model.onnx",
            dense=None if dense is None else "dense.onnx",
            files=files,
            provenance=Provenance(
                created="2025-01-31T12:00:00Z",
                recipe=recipe or {},
                seed=0,
                versions={},
                instruction_set=instruction_set(),
                cpu="any",
            ),
            quantization={},
            layers=(),
            measurements=(),
            proofs={},
        )
        return path

    return make
