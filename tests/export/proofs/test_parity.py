from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from hardtemper.export.lower import FloatGraph
from hardtemper.export.proofs.parity import ActivationParity, ParityReport, check_exact, check_parity
from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import GateError, ModelError

Pixels = Callable[..., NDArray[np.uint8]]

SHAPE = (3, 12, 12)


def test_one_function(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    images = pixels(140, SHAPE)
    calls: list[tuple[str, int, int, str]] = []
    report = check_parity(residual_integer.model, images, progress=lambda *call: calls.append(call))
    assert report.exact
    assert report.images == len(images)
    assert report.engine_logits == report.engine_images == report.unoptimized_logits == report.exposed_logits == 0
    assert tuple(a.name for a in report.activations) == Twin(residual_integer.model).quantizers
    assert all(a.elements % len(images) == 0 for a in report.activations)
    first = report.activations[0]
    assert (first.elements, first.mismatches, first.largest) == (len(images) * 3 * 144, 0, 0)
    assert calls == [("parity", 128, 144, "0 logits differ"), ("parity", 144, 144, "0 logits differ")]


def test_large_activations_come_in_smaller_batches(
    residual_integer: IntegerGraph, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, done = pixels(7, SHAPE), []  # and four extreme ones
    whole = check_parity(residual_integer.model, images)
    (one,) = {sum(a.elements for a in whole.activations) // len(images)}
    monkeypatch.setattr(
        "hardtemper.export.batch_size.MOST_BYTES", 4 * 3 * (one + 10)
    )  # float32 of three images, their 10 logits among it
    parts = check_parity(residual_integer.model, images, progress=lambda _, n, *__: done.append(n))
    assert done == [3, 6, 9, 11]
    assert parts == whole


def corrupted(model: onnx.ModelProto, layer: int) -> tuple[Twin, str]:
    """A twin of the graph with one weight integer changed in its `layer`-th convolution, and that one's name."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    convs = [node for node in changed.graph.node if node.op_type == "Conv"]
    sources = {node.output[0]: node.input[0] for node in changed.graph.node if node.op_type == "DequantizeLinear"}
    name = sources[convs[layer].input[1]]
    (tensor,) = [t for t in changed.graph.initializer if t.name == name]
    integers = numpy_helper.to_array(tensor).copy()
    integers.reshape(-1)[0] -= 40 * np.sign(integers.reshape(-1)[0]) or 1
    tensor.CopyFrom(numpy_helper.from_array(integers, name))
    return Twin(changed), convs[layer].output[0]


def test_an_activation_that_is_no_number_differs(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(residual_integer.model)
    conv = [node for node in changed.graph.node if node.op_type == "Conv"][2]
    source = next(node for node in changed.graph.node if conv.input[1] in node.output)
    (scale,) = [tensor for tensor in changed.graph.initializer if tensor.name == source.input[1]]
    scale.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(scale), np.nan), scale.name))
    report = check_parity(residual_integer.model, pixels(12, SHAPE), twin=Twin(changed))
    assert not report.exact
    behind = [found for found in report.activations if found.mismatches]
    assert behind
    assert all(0 <= found.largest <= 255 for found in report.activations)


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_a_corrupted_twin_is_detected(layer: int, residual_integer: IntegerGraph, pixels: Pixels) -> None:
    twin, broken = corrupted(residual_integer.model, layer)
    report = check_parity(residual_integer.model, pixels(12, SHAPE), twin=twin)
    assert not report.exact
    assert report.engine_logits > 0
    assert 0 < report.engine_images <= report.images
    assert report.unoptimized_logits == report.engine_logits  # the engine itself is the graph as written
    names = [activation.name for activation in report.activations]
    differing = [activation for activation in report.activations if activation.mismatches]
    producers = {
        node.output[0]: node.input[0] for node in residual_integer.model.graph.node if node.op_type == "QuantizeLinear"
    }
    assert producers[differing[0].name] == broken
    assert all(activation.largest > 0 for activation in differing)
    assert names.index(differing[0].name) == min(names.index(activation.name) for activation in differing)


def test_a_single_logit_is_detected(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    twin = Twin(residual_integer.model)
    (bias,) = [name for name in residual_integer.shadow if residual_integer.shadow[name].shape == (10,)]
    with torch.no_grad():
        step = twin._constant(twin._codes[bias][1].scale).reshape(-1)
        twin.get_parameter(twin._keys[bias])[3] += step[3]  # one unit of the accumulator
    images = pixels(12, SHAPE)
    report = check_parity(residual_integer.model, images, twin=twin)
    assert (report.engine_logits, report.engine_images) == (len(images), len(images))
    assert not any(activation.mismatches for activation in report.activations)
    assert not report.exact


def test_what_is_not_asked_for_is_not_compared(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    twin, _ = corrupted(residual_integer.model, 0)
    images = pixels(4, SHAPE)
    report = check_parity(residual_integer.model, images, twin=twin, activations=False, unoptimized=False)
    assert report.activations == ()
    assert report.unoptimized_logits == report.exposed_logits == 0
    assert report.engine_logits > 0


def test_float_graphs_are_near(residual_graph: FloatGraph, pixels: Pixels) -> None:
    """No quantizers, float input: compared all the same, and not called exact where they are not."""
    images = pixels(12, SHAPE)
    report = check_parity(residual_graph.model, images)
    assert report.activations == ()
    assert report.engine_logits <= 10 * len(images)


def test_no_images(residual_integer: IntegerGraph) -> None:
    report = check_parity(residual_integer.model, np.zeros((0, *SHAPE), np.uint8))
    assert report.images == 0
    assert report.exact


def test_json(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    report = check_parity(residual_integer.model, pixels(4, SHAPE))
    said = json.loads(json.dumps(report.to_json()))
    assert said["exact"] is True
    assert said["images"] == 8
    assert said["activations"][0] == {
        "name": report.activations[0].name,
        "elements": report.activations[0].elements,
        "mismatches": 0,
        "largest": 0,
    }


def test_a_graph_that_onnxruntime_refuses(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(residual_integer.model)
    model.ir_version = 999
    with pytest.raises(ModelError, match="ONNX Runtime refuses the graph"):
        check_parity(model, pixels(4, SHAPE))


EXACT = ParityReport(images=4, engine_logits=0, engine_images=0, unoptimized_logits=0, exposed_logits=0, activations=())
ONE_INTEGER = ActivationParity(name="a", elements=9, mismatches=1, largest=1)


@pytest.mark.parametrize("stored", [None, 0])
def test_what_is_exact_passes(stored: int | None) -> None:
    check_exact(EXACT, weight_bits=8, stored_logits=stored)


@pytest.mark.parametrize(
    ("changes", "stored", "got"),
    [
        ({"engine_logits": 7}, None, "7 logits and 0 integers differ"),
        ({"unoptimized_logits": 1}, 0, "0 stored logits, 0 other logits and 0 integers differ"),
        ({"exposed_logits": 1}, None, "0 logits and 0 integers differ"),
        ({"activations": (ONE_INTEGER,)}, None, "0 logits and 1 integers differ"),
        ({}, 3, "3 stored logits, 0 other logits and 0 integers differ"),
    ],
)
def test_what_is_not_exact_does_not(changes: dict[str, Any], stored: int | None, got: str) -> None:
    with pytest.raises(GateError, match="no differing integer and no differing logit") as caught:
        check_exact(replace(EXACT, **changes), weight_bits=8, stored_logits=stored)
    assert caught.value.got == got


@pytest.mark.parametrize(
    ("here", "bits", "fix"), [("x86-64-avx2", 8, True), ("x86-64-avx2", 7, False), ("x86-64-vnni", 8, False)]
)
def test_fewer_bits_are_advised_only_where_they_help(
    here: str, bits: int, fix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardtemper.export.proofs.parity.instruction_set", lambda: here)
    with pytest.raises(GateError) as caught:
        check_exact(EXACT, weight_bits=bits, stored_logits=1)
    assert caught.value.fix == ("build with quantize.weight_bits = 7" if fix else "")


def test_a_graph_that_onnxruntime_opens_and_cannot_run(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(residual_integer.model)
    tensor = onnx.helper.make_tensor("three", onnx.TensorProto.INT64, [1], [3])
    changed.graph.initializer.append(tensor)
    changed.graph.node.insert(0, onnx.helper.make_node("Reshape", [changed.graph.input[0].name, "three"], ["unused"]))
    changed.graph.output.append(onnx.helper.make_tensor_value_info("unused", onnx.TensorProto.UINT8, [3]))
    with pytest.raises(ModelError, match="ONNX Runtime cannot run the graph"):
        check_parity(changed, pixels(12, SHAPE), twin=Twin(residual_integer.model))
