"""Writes the seeds that are mutated: two built bundles, a float one of many operators, a verdict, data, weights.

    python tests/fuzz/make_corpus.py tests/fuzz/corpus

They are committed, so that a campaign mutates the same bytes on every machine. Run it again only where a format
changes.
"""

from __future__ import annotations

import gzip
import shutil
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from hardtemper.export.bundle_writer import Contents, write_bundle
from hardtemper.runtime.bundle.manifest import Input, Output, Provenance
from hardtemper.runtime.cpu import instruction_set
from hardtemper.toolchain import api

__all__ = ["RECIPE", "residual", "write_corpus"]

SIDE = 8
CLASSES = 4

RECIPE: dict[str, Any] = {
    "name": "seed",
    "robust": True,
    "data": {"heldout": 16, "calibration": 16},
    "model": {"name": "cnn8", "width": 4, "hidden": 8},
    "train": {"epochs": 0},
    "compress": [{"method": "filters", "sparsity": 0.5}],
    "adversary": {"threat": "linf:0.1", "steps": 1},
    "finetune": {"epochs": 1, "batch_size": 16},
    "finetune_twin": {"epochs": 0, "batch_size": 16},
    "quantize": {"integer_share": 0.0},
}


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.last = nn.AdaptiveAvgPool2d(1), nn.Linear(4, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.first(images))
        both = torch.relu(self.second(first) + first)
        logits: torch.Tensor = self.last(self.pool(both).flatten(1))
        return logits


def residual() -> nn.Module:
    """A convolution, a residual sum, an average pool and a linear layer."""
    torch.manual_seed(0)
    return _Residual()


def many_operators() -> onnx.ModelProto:
    """A float classifier of pixels [N, 1, 8, 8] with a node of each of many kinds."""
    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    tensors: list[Any] = []

    def tensor(name: str, value: Any) -> str:
        tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=f"n_{output}", **attributes))
        return output

    x = node("Cast", ["image"], "float", to=TensorProto.FLOAT)
    x = node("Div", [x, tensor("levels", np.float32(255))], "scaled")
    weight = tensor("weight", rng.normal(size=(4, 1, 3, 3)).astype(np.float32))
    x = node("Conv", [x, weight, tensor("bias", np.zeros(4, np.float32))], "conv", pads=[1, 1, 1, 1])
    x = node("Clip", [x, tensor("least", np.float32(0)), tensor("most", np.float32(6))], "clip")
    parts = [tensor("starts", [0]), tensor("ends", [2]), tensor("axes", [1])]
    first = node("Slice", [x, *parts], "slice")
    second = node("Gather", [x, tensor("rows", [2, 3])], "gather", axis=1)
    x = node("Concat", [first, node("Sigmoid", [second], "sigmoid")], "concat", axis=1)
    x = node("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    x = node("Pad", [x, tensor("pads", [0, 0, 1, 1, 0, 0, 0, 0])], "pad")
    x = node("AveragePool", [x], "average", kernel_shape=[2, 2], strides=[1, 1])
    x = node("Transpose", [x], "transpose", perm=[0, 2, 3, 1])
    x = node("ReduceMean", [x, tensor("over", [1])], "mean", keepdims=0)
    x = node("Reshape", [x, tensor("flat", [0, -1])], "reshape")
    scale, zero = tensor("scale", np.float32(2**-5)), tensor("zero", np.uint8(128))
    x = node("QuantizeLinear", [x, scale, zero], "quantized")
    x = node("DequantizeLinear", [x, scale, zero], "dequantized")
    x = node("MatMul", [x, tensor("matrix", rng.normal(size=(16, CLASSES)).astype(np.float32))], "product")
    x = node("Add", [x, tensor("offset", np.zeros(CLASSES, np.float32))], "sum")
    halves = [tensor("half", [2, 2])]
    nodes.append(helper.make_node("Split", [x, *halves], ["left", "right"], name="n_split", axis=1))
    x = node("Concat", ["left", "right"], "joined", axis=1)
    positive = node("Greater", [x, tensor("nought", np.float32(0))], "positive")
    x = node("Where", [positive, x, node("Neg", [x], "negative")], "where")
    node("Identity", [x], "logits")
    graph = helper.make_graph(
        nodes,
        "many",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def data() -> dict[str, Any]:
    """Gray images of 8 x 8 pixels whose class is the quarter that is bright."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 64), ("test", 16)):
        images, labels = rng.integers(0, 90, (count, 1, SIDE, SIDE)), np.arange(count) % CLASSES
        for image, label in zip(images, labels, strict=True):
            top, left = (4 * int(k) for k in divmod(int(label), 2))
            image[0, top : top + 4, left : left + 4] += 120
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    return arrays


def _toy(path: Path) -> None:
    """The graph of many operators as a bundle, with what ONNX Runtime gives for its proof images."""
    import onnxruntime

    model = many_operators().SerializeToString(deterministic=True)
    images = data()["test_images"][:4]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with tempfile.TemporaryFile() as file:
        np.savez_compressed(file, images=images, logits=session.run(None, {"image": images})[0])
        file.seek(0)
        proof = file.read()
    contents = Contents(
        name="many",
        input=Input(shape=(1, SIDE, SIDE), name="image"),
        output=Output(classes=tuple("abcd"), name="logits"),
        graph="model.onnx",
        dense=None,
        provenance=Provenance(
            created="2026-01-31T12:00:00Z",
            recipe={"quantize": {"integer_share": 0.0}},
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
    write_bundle(path, contents, files={"model.onnx": model, "proof.npz": proof})


def _images(folder: Path, arrays: dict[str, Any]) -> None:
    suffixes = ("png", "jpg", "bmp", "gif", "tif", "ppm", "webp", "pgm")
    for split in ("train", "test"):
        for index, label in enumerate(arrays[f"{split}_labels"][:8]):
            place = folder / split / "abcd"[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(arrays[f"{split}_images"][index, 0]).save(place / f"{index}.{suffixes[index]}")


def write_corpus(folder: Path) -> None:
    """Everything, into a folder that is emptied first but for what campaigns found."""
    for old in folder.iterdir() if folder.exists() else ():
        if old.name != "found":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    arrays = data()
    np.savez_compressed(folder / "data.npz", **arrays)
    recipe = RECIPE | {"data": {**RECIPE["data"], "name": str(folder / "data.npz")}}
    with tempfile.TemporaryDirectory() as work:
        api.build(recipe, out=Path(work) / "conv")
        plain = {"robust": False, "compress": [], "model": {"name": "make_corpus:residual"}}
        api.build(recipe | plain, out=Path(work) / "residual")
        quick: dict[str, Any] = {"images": 4, "repeats": 1, "warmup": 0, "min_seconds": 0.0, "batches": (1,)}
        api.bench(Path(work) / "conv", data=str(folder / "data.npz"), attack="fgsm,bim", dense=False, **quick)
        (verdict,) = (Path(work) / "conv.bench").glob("*.npz")
        shutil.copy(verdict, folder / "verdict.npz")
        for name in ("conv", "residual"):
            shutil.copytree(Path(work) / name, folder / name)
    _toy(folder / "many")
    _images(folder / "images", arrays)
    for split, word in (("train", "train"), ("t10k", "test")):
        images, labels = arrays[f"{word}_images"][:, 0], arrays[f"{word}_labels"].astype(np.uint8)
        header = struct.pack(">HBB3I", 0, 8, 3, *images.shape)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        packed = gzip.compress(struct.pack(">HBBI", 0, 8, 1, len(labels)) + labels.tobytes(), mtime=0)
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(packed)
    state = residual().state_dict()
    torch.save(state, folder / "weights.pt")
    torch.save({"state_dict": state, "epoch": 3}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(state, folder / "weights.safetensors")


if __name__ == "__main__":
    sys.modules["make_corpus"] = sys.modules["__main__"]
    write_corpus(Path(sys.argv[1]))
