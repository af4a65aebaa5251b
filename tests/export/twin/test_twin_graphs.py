"""Graphs of other toolkits: every form in which weights, biases and inputs can be written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from hardtemper.export.lower import FloatGraph
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.twin.twin import Twin

Build = Callable[..., onnx.ModelProto]
Run = Callable[..., Any]
Pixels = Callable[..., NDArray[np.uint8]]

SHAPE = (3, 12, 12)


class Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, images: NDArray[np.uint8]) -> None:
        self._batches = iter([{name: images[i : i + 1].astype(np.float32) / 255} for i in range(len(images))])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def train_a_step(twin: Twin, images: NDArray[np.uint8]) -> None:
    """Down the gradient, by a twentieth of the largest weight at most."""
    logits = twin(torch.from_numpy(images).float() / 255)
    nn.functional.cross_entropy(logits, torch.arange(len(images)) % 10).backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.grad is not None and parameter.grad.abs().max() > 0:
                parameter.sub_(parameter.grad * (0.05 * parameter.abs().max() / parameter.grad.abs().max()))


@pytest.fixture(scope="module")
def float_files(residual_graph: FloatGraph, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same net as other exporters write it, by opset."""
    folder, files = tmp_path_factory.mktemp("float"), {}
    for opset in (13, 17):
        model = onnx.ModelProto()
        model.CopyFrom(residual_graph.model)
        model.opset_import[0].version = opset  # none of its operators changed in between
        onnx.checker.check_model(model, full_check=True)
        files[opset] = folder / f"{opset}.onnx"
        onnx.save(model, files[opset])
    return files


class Setting(NamedTuple):
    opset: int
    weight: QuantType
    per_channel: bool
    extra: dict[str, bool]


SETTINGS = [
    Setting(opset, weight, per_channel, extra)
    for opset in (13, 17)
    for weight in (QuantType.QInt8, QuantType.QUInt8)
    for per_channel in (False, True)
    for extra in ({}, {"ActivationSymmetric": True}, {"QuantizeBias": False})
    if opset == 17 or not extra
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_quantize_static(setting: Setting, float_files: dict[int, Path], tmp_path: Path, pixels: Pixels) -> None:
    """uint8 activations with free scales, any weights, biases float or int32: bit for bit the optimized engine."""
    settings = {"weight_type": setting.weight, "per_channel": setting.per_channel, "extra_options": setting.extra}
    model = quantized(float_files[setting.opset], tmp_path, pixels, **settings)
    twin = Twin(model)
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()
    assert not twin.takes_pixels
    assert check_parity(model, pixels(12, SHAPE, seed=1), unoptimized=False).exact
    train_a_step(twin, pixels(8, SHAPE))
    trained = twin.to_onnx()
    before, after = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (model, trained))
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert sum(before[name].dtype in (np.int8, np.uint8) for name in changed) >= 6
    assert check_parity(trained, pixels(12, SHAPE, seed=1), twin=twin, unoptimized=False).exact


@pytest.mark.parametrize("per_channel", [False, True])
def test_signed_activations(
    per_channel: bool, float_files: dict[int, Path], tmp_path: Path, pixels: Pixels, run: Run
) -> None:
    """ONNX Runtime computes some of these layers in float on x86, so only nearly the same: a step here and there."""
    model = quantized(float_files[17], tmp_path, pixels, activation_type=QuantType.QInt8, per_channel=per_channel)
    twin = Twin(model)
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()
    images = pixels(12, SHAPE, seed=1)
    (wanted,) = run(model, {"image": images.astype(np.float32) / 255}, optimize=True)
    with torch.no_grad():
        found = twin(torch.from_numpy(images).float() / 255).numpy()
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    assert np.mean(found != wanted) < 0.5


def quantized(path: Path, folder: Path, pixels: Pixels, **settings: Any) -> onnx.ModelProto:
    logging.disable(logging.WARNING)  # quantize_static recommends pre-processing
    try:
        quantize_static(
            path,
            folder / "quantized.onnx",
            Images("image", pixels(16, SHAPE)),
            quant_format=QuantFormat.QDQ,
            **({"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8} | settings),
        )
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(folder / "quantized.onnx")


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """float initializer -> QuantizeLinear -> DequantizeLinear, as toolkits that train write their weights."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    quantizers = []
    for node in changed.graph.node:
        stored = arrays.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if stored is None or stored.dtype != np.int8:
            continue
        scale = arrays[node.input[1]].reshape(-1, *[1] * (stored.ndim - 1))
        name = f"{node.input[0]}_float"
        quantizers.append(
            onnx.helper.make_node("QuantizeLinear", [name, *node.input[1:]], [f"{name}_q"], name=f"{name}_q", axis=0)
        )
        changed.graph.initializer.append(numpy_helper.from_array(stored * scale, name))
        node.input[0] = f"{name}_q"
    nodes = [*quantizers, *changed.graph.node]
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in changed.graph.initializer if tensor.name in used]
    del changed.graph.initializer[:]
    changed.graph.initializer.extend(kept)
    onnx.checker.check_model(changed)
    return changed


def test_float_weights_that_the_graph_quantizes(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    model = with_float_weights(residual_integer.model)
    twin, plain = Twin(model), Twin(residual_integer.model)
    images = pixels(12, SHAPE)
    with torch.no_grad():
        assert torch.equal(twin(torch.from_numpy(images).float()), plain(torch.from_numpy(images).float()))
    assert twin.quantizers == plain.quantizers
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()
    train_a_step(twin, images)
    trained = twin.to_onnx()
    assert check_parity(trained, images, twin=twin).exact
    before, after = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (model, trained))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert sum(name.endswith("_float") for name in changed) >= 6


def test_initializers_among_the_inputs(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(residual_integer.model)
    for tensor in model.graph.initializer:
        model.graph.input.insert(0, onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    images = torch.from_numpy(pixels(4, SHAPE)).float() / 255
    twin = Twin(model)
    assert torch.equal(twin(images), Twin(residual_integer.model)(images))
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()


def test_weights_in_constant_nodes(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(residual_integer.model)
    constants = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    nodes = [*constants, *model.graph.node]
    del model.graph.initializer[:]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    twin = Twin(model, shadow=residual_integer.shadow)
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()
    train_a_step(twin, pixels(8, SHAPE))
    assert check_parity(twin.to_onnx(), pixels(8, SHAPE), twin=twin).exact
    assert twin.to_onnx().SerializeToString() != model.SerializeToString()


def test_fixed_batches(build: Build, pixels: Pixels) -> None:
    """A graph exported for 2 images: its Reshape says so; the twin takes any number, the engine pieces of 2."""
    rng = np.random.default_rng(0)
    model = build(
        "d = DequantizeLinear(image, s, z) w = DequantizeLinear<axis=0>(wq, sw) f = Reshape(d, to)"
        " logits = Gemm<transB=1>(f, w)",
        inputs={"image": "uint8[2,3,12,12]"},
        outputs={"logits": "float[2,10]"},
        constants={
            "s": np.float32(1 / 256),
            "z": np.uint8(0),
            "wq": rng.integers(-127, 128, (10, 432)).astype(np.int8),
            "sw": np.full(10, 2.0**-7, np.float32),
            "to": np.array([2, 432]),
        },
    )
    images = pixels(3, SHAPE)
    assert len(images) == 7
    twin = Twin(model)
    assert twin(torch.from_numpy(images).float() / 255).shape == (7, 10)
    assert check_parity(model, images).exact
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize("batch", [1, 2])
def test_fixed_batches_leave_constants_alone(batch: int, build: Build, run: Run) -> None:
    """A bias that is reshaped, by a shape that images are reshaped by too."""
    rng = np.random.default_rng(0)
    shape = f"{batch},2,2,2"
    model = build(
        "b = Relu(bias) c = Reshape(b, to) y = Add(image, c) z = Reshape(y, to) logits = Flatten(z)",
        inputs={"image": f"float[{shape}]"},
        outputs={"logits": f"float[{batch},8]"},
        constants={"bias": rng.normal(size=8 * batch).astype(np.float32), "to": np.array([batch, 2, 2, 2])},
    )
    images = rng.random((batch, 2, 2, 2), np.float32)
    twin = Twin(model)
    with torch.no_grad():
        assert np.array_equal(twin(torch.from_numpy(images)).numpy(), run(model, {"image": images})[0])
        assert batch > 1 or twin(torch.zeros(3, 2, 2, 2)).shape == (3, 8)
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize(("operator", "groups"), [("Conv", 1), ("Conv", 2), ("Gemm", 1)])
def test_sums_beyond_what_float32_holds(operator: str, groups: int, build: Build, run: Run) -> None:
    """Accumulators beyond 2^24: blocks of channels, added in float64, as exact as an int32."""
    rng = np.random.default_rng(0)
    shape = (8, 512 // groups, 3, 3) if operator == "Conv" else (8, 512 * 9)
    weight = rng.choice([-127, -100, 90, 127, 126], shape, p=[0.1, 0.1, 0.2, 0.4, 0.2]).astype(np.int8)
    node = f"y = Conv<group={groups}>(x, w, b)" if operator == "Conv" else "f = Flatten(x) y = Gemm<transB=1>(f, w, b)"
    shape_of_y = "N,8,1,1" if operator == "Conv" else "N,8"
    model = build(
        f"x = DequantizeLinear(image, s, z) w = DequantizeLinear<axis=0>(wq, sw) b = DequantizeLinear<axis=0>(bq, sb)"
        f" {node} q = QuantizeLinear(y, sy, zy) logits = DequantizeLinear(q, sy, zy)",
        inputs={"image": "uint8[N,512,3,3]"},
        outputs={"logits": f"float[{shape_of_y}]"},
        constants={
            "s": np.float32(0.013),
            "z": np.uint8(0),
            "wq": weight,
            "sw": rng.uniform(0.01, 0.02, 8).astype(np.float32),
            "bq": rng.integers(-(2**26), 2**26, 8).astype(np.int32),
            "sb": np.zeros(8, np.float32),
            # a fine step around the usual sum, so that the last bits of the accumulator matter
            "sy": np.float32(2.0),
            "zy": np.uint8(7),
        },
    )
    arrays = {t.name: t for t in model.graph.initializer}
    steps = numpy_helper.to_array(arrays["sw"]) * np.float32(0.013)
    arrays["sb"].CopyFrom(numpy_helper.from_array(steps, "sb"))
    images = rng.integers(0, 256, (400, 512, 3, 3)).astype(np.uint8)
    flat = images.reshape(len(images), groups, -1).astype(np.int64)
    rows = weight.reshape(groups, 8 // groups, -1).astype(np.int64)
    sums = np.einsum("ngk,gok->ngo", flat, rows)
    assert np.abs(sums).max() > 2**24
    assert check_parity(model, images).exact
    if operator == "Conv":
        return
    found = Twin(model).activations(torch.from_numpy(images).float() / 255)["q"].detach().numpy()
    accumulator = (sums.reshape(len(images), -1) + numpy_helper.to_array(arrays["bq"])).astype(np.float32)
    assert np.array_equal(found, np.clip(np.rint(accumulator * (steps / np.float32(2.0))) + 7, 0, 255))


def test_biases_beyond_a_shadow_stay_as_they_are(build: Build) -> None:
    """float32 steps of s_x * s_w cannot say 2^30 + 1; the layer trains without them."""
    model = build(
        "x = DequantizeLinear(image, s, z) w = DequantizeLinear<axis=0>(wq, sw) b = DequantizeLinear<axis=0>(bq, sb)"
        " y = Conv(x, w, b) logits = Flatten(y)",
        inputs={"image": "uint8[N,1,1,2]"},
        outputs={"logits": "float[N,4]"},
        constants={
            "s": np.float32(0.1),
            "z": np.uint8(0),
            "wq": np.array([3, 4], np.int8).reshape(2, 1, 1, 1),
            "sw": np.array([0.1, 0.2], np.float32),
            "bq": np.array([2**30 + 1, 5], np.int32),
            "sb": np.array([0.01, 0.02], np.float32),
        },
    )
    twin = Twin(model)
    assert len(list(twin.parameters())) == 1
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()


def test_split_and_shuffle_on_integers(build: Build, run: Run) -> None:
    """ShuffleNet's move, between quantizers: integers go through, on their grid."""
    model = build(
        "x = DequantizeLinear(image, s, z) a, b = Split<axis=1, num_outputs=2>(x) t = Concat<axis=1>(b, a)"
        " r = Reshape(t, five) p = Transpose<perm=[0,2,1,3,4]>(r) u = Reshape(p, four)"
        " q = QuantizeLinear(u, s, z) d = DequantizeLinear(q, s, z) logits = Flatten(d)",
        inputs={"image": "uint8[N,4,2,2]"},
        outputs={"logits": "float[N,16]"},
        constants={
            "s": np.float32(0.013),
            "z": np.uint8(3),
            "five": np.array([0, 2, 2, 2, 2]),
            "four": np.array([0, 4, 2, 2]),
        },
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 2, 2)).astype(np.uint8)
    with torch.no_grad():
        found = Twin(model)(torch.from_numpy(images).float() / 255).numpy()
    assert np.array_equal(found, run(model, {"image": images}, optimize=True)[0])


@pytest.mark.parametrize("node", ["Conv(x, w, b)", "Conv(x, w)", "Gemm<transB=1>(f, m, b)", "Gemm(f, n)"])
@pytest.mark.parametrize("behind", ["y", "Relu(y)"])
def test_float_weights_that_onnxruntime_quantizes(node: str, behind: str, build: Build, pixels: Pixels) -> None:
    """Between quantizers it makes int8 of them, unasked: the engine's function, and so the twin's."""
    rng = np.random.default_rng(0)
    clamp = f"c = {behind} q = QuantizeLinear(c, sy, z)" if behind != "y" else "q = QuantizeLinear(y, sy, z)"
    model = build(
        f"x = DequantizeLinear(image, s, z) f = Flatten(x) y = {node} {clamp} logits = DequantizeLinear(q, sy, z)",
        inputs={"image": "uint8[N,3,12,12]"},
        outputs={"logits": "float[N,8,10,10]" if "Conv" in node else "float[N,8]"},
        constants={
            "s": np.float32(0.01),
            "z": np.uint8(0),
            "w": rng.normal(0.1, 1, (8, 3, 3, 3)).astype(np.float32),
            "m": rng.normal(0.1, 1, (8, 432)).astype(np.float32),
            "n": rng.normal(0.1, 1, (432, 8)).astype(np.float32),
            "b": rng.normal(0, 3, 8).astype(np.float32),
            "sy": np.float32(0.07),
        },
    )
    if "f" not in node:
        model.graph.node.remove(next(n for n in model.graph.node if n.op_type == "Flatten"))
    twin, images = Twin(model), pixels(32, SHAPE)
    assert check_parity(model, images, twin=twin, unoptimized=False).exact
    twin(torch.from_numpy(images).float() / 255).sum().backward()
    gradients = [parameter.grad for parameter in twin.parameters() if parameter.grad is not None]
    assert len(gradients) == node.count(",")
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_a_clip_that_the_grid_makes(build: Build, pixels: Pixels) -> None:
    """Conv -> Clip -> QuantizeLinear with free scales is one kernel in ONNX Runtime, and in the twin."""
    rng = np.random.default_rng(0)
    model = build(
        "x = DequantizeLinear(image, s, z) w = DequantizeLinear<axis=0>(wq, sw) y = Conv(x, w) c = Clip(y, low, high)"
        " q = QuantizeLinear(c, sy, z) logits = DequantizeLinear(q, sy, z)",
        inputs={"image": "uint8[N,3,12,12]"},
        outputs={"logits": "float[N,8,10,10]"},
        constants={
            "s": np.float32(1 / 255),
            "z": np.uint8(0),
            "wq": rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8),
            "sw": rng.uniform(0.01, 0.05, 8).astype(np.float32),
            "low": np.float32(0),
            "high": np.float32(6),
            "sy": np.float32(6 / 255),
        },
    )
    assert check_parity(model, pixels(32, SHAPE), unoptimized=False).exact
