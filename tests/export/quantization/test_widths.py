"""Which layer has how many bits, and graphs of few bits: codes in their range, before and after training."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from hardtemper.export.lower import FloatGraph, lower
from hardtemper.export.proofs.executed_kernels import inspect_kernels
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import IntegerGraph, check_operators, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.quantization.weight_codes import weight_limit
from hardtemper.export.quantization.widths import LayerBits
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import InputError

Pixels = Callable[..., NDArray[np.uint8]]
SHAPE = (3, 12, 12)
LAYERS = ["first.0", "second.0", "second.2", "third.0", "third.2", "head.3"]
PAIRS = [(8, 4), (4, 8), (4, 4), (3, 3), (2, 2), (1, 8), (8, 1), (1, 1)]


def floats(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images).float() / 255


def made(graph: FloatGraph, images: NDArray[np.uint8], **settings: Any) -> tuple[IntegerGraph, Twin]:
    integer = quantize(graph, images, scheme=Scheme(**settings))
    return integer, Twin(integer.model, shadow=integer.shadow, weight_bits=integer.weight_bits)


def widths(graph: FloatGraph, images: NDArray[np.uint8], **settings: Any) -> dict[str, tuple[int, int]]:
    layers = quantize(graph, images[:2], scheme=Scheme(**settings)).layers
    assert all(isinstance(layer, LayerBits) for layer in layers)
    return {layer.name: (layer.weight_bits, layer.activation_bits) for layer in layers}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"weight_bits": 7}, dict.fromkeys(LAYERS, (7, 8))),
        ({"weight_bits": 4}, dict.fromkeys(LAYERS[1:-1], (4, 8))),
        ({"weight_bits": 4, "end_bits": 6}, dict.fromkeys(LAYERS, (4, 8)) | {LAYERS[0]: (6, 8), LAYERS[-1]: (6, 8)}),
        ({"weight_bits": 4, "end_bits": 2}, dict.fromkeys(LAYERS, (4, 8))),
        ({"activation_bits": 2}, dict.fromkeys(LAYERS[:-1], (8, 2))),
        ({"layer_weight_bits": {"second": 2}}, {"second.0": (2, 8), "second.2": (2, 8)}),
        ({"layer_weight_bits": {"second.0": 3, "second": 2}}, {"second.0": (2, 8), "second.2": (2, 8)}),
        ({"layer_weight_bits": {"second.0": 3, "s*": 2}}, {"second.0": (3, 8), "second.2": (2, 8)}),
        ({"layer_activation_bits": {"*.2": 4}}, {"second.2": (8, 4), "third.2": (8, 4)}),
        (
            {"weight_bits": 4, "layer_weight_bits": {"head": 1}},
            dict.fromkeys(LAYERS[1:-1], (4, 8)) | {"head.3": (1, 8)},
        ),
    ],
    ids=str,
)
def test_which_layer_has_how_many_bits(
    settings: Any, expected: dict[str, tuple[int, int]], residual_graph: FloatGraph, pixels: Pixels
) -> None:
    assert widths(residual_graph, pixels(2, SHAPE), **settings) == dict.fromkeys(LAYERS, (8, 8)) | expected


def test_a_layer_that_there_is_not(residual_graph: FloatGraph, pixels: Pixels) -> None:
    for key in ("layer_weight_bits", "layer_activation_bits"):
        scheme = Scheme(**{key: {"secnd.0": 4}})
        with pytest.raises(InputError, match=f"quantize.{key} names no layer.*'second.0'.*got: 'secnd.0'"):
            check_operators(residual_graph, scheme)
        with pytest.raises(InputError, match="names no layer"):
            quantize(residual_graph, pixels(2, SHAPE), scheme=scheme)


class Pooled(nn.Module):
    """What a layer reads by way of a pool, a clamp and a reshape; what two layers read; an average that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.a(x)), 2)
        x = torch.relu(self.norm(torch.relu(self.b(x) + self.c(x))))
        return self.head(nn.functional.avg_pool2d(x[:, :, :4, :4], 2).flatten(1))  # type: ignore[no-any-return]


def test_a_result_has_the_bits_of_the_layers_that_read_it(pixels: Pixels) -> None:
    scheme = {"activation_bits": 2, "layer_activation_bits": {"b": 3, "c": 4}}
    integer, twin = made(lower(Pooled().eval(), input_shape=SHAPE), pixels(16, SHAPE), **scheme)
    highest = {name: int(q.max()) for name, q in twin.activations(floats(pixels(16, SHAPE))).items()}
    stored = {t.name: numpy_helper.to_array(t) for t in integer.model.graph.initializer}
    clips = {
        n.input[0]: tuple(stored[i].item() for i in n.input[1:])
        for n in integer.model.graph.node
        if n.op_type == "Clip"
    }
    assert clips["relu_quantized"] == (0, 15)  # the more of b's and c's
    assert set(clips.values()) == {(0, 15), (126, 129), (0, 3)}
    assert not any(name.startswith("max_pool2d") for name in clips)  # moved codes stay in their range
    assert highest["avg_pool2d_quantized"] > 3  # 8 bits
    assert {bits for name, bits in integer.weight_bits.items()} == {8}


def codes(model: onnx.ModelProto, integer: IntegerGraph) -> dict[str, NDArray[np.int8]]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name in integer.weight_bits}


def check_codes(model: onnx.ModelProto, integer: IntegerGraph) -> None:
    for name, found in codes(model, integer).items():
        bits = integer.weight_bits[name]
        assert np.abs(found.astype(int)).max() <= weight_limit(bits)
        assert bits > 1 or (found != 0).all()


@pytest.mark.parametrize(("weights", "activations"), PAIRS)
def test_one_function_in_integer_kernels_before_and_after_training(
    weights: int, activations: int, residual_graph: FloatGraph, pixels: Pixels
) -> None:
    images = pixels(24, SHAPE)
    integer, twin = made(residual_graph, images, weight_bits=weights, activation_bits=activations)
    assert {*integer.weight_bits.values()} == {8, weights}
    before = codes(integer.model, integer)
    check_codes(integer.model, integer)
    assert check_parity(integer.model, images, twin=twin).exact
    assert check_parity(twin.to_onnx(), images).exact  # nothing was trained
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(twin(floats(images)), torch.arange(len(images)) % 10).backward()
        optimizer.step()
    trained = twin.to_onnx()
    check_codes(trained, integer)
    assert any(
        (codes(trained, integer)[name] != before[name]).any() for name, b in integer.weight_bits.items() if b == weights
    )
    assert check_parity(trained, images, twin=twin).exact
    kernels = inspect_kernels(trained)
    assert kernels.integer_share == 1.0
    assert kernels.float_kernels == ()
    _in_their_range(twin, images, activations)


def _in_their_range(twin: Twin, images: NDArray[np.uint8], bits: int) -> None:
    """What a DequantizeLinear gives the layers, by the twin's own account of the clipped codes."""
    found = twin.activations(floats(images))
    spread = [int(q.max() - q.min()) for q in found.values()]
    assert len(spread) > 5
    assert bits == 8 or any(width >= 2**bits - 1 for width in spread)


@pytest.mark.parametrize("scales", ["power-of-two", "free"])
def test_the_error_falls_with_bits(
    scales: Any, residual: nn.Module, residual_graph: FloatGraph, pixels: Pixels
) -> None:
    images = pixels(32, SHAPE)
    with torch.no_grad():
        wanted = residual(floats(images))

        def error(**settings: int) -> float:
            _, twin = made(residual_graph, images, scales=scales, **settings)
            return float((twin(floats(images)) - wanted).square().mean() / wanted.var())

        for settings in ("weight_bits", "activation_bits"):
            errors = [error(**{settings: bits}) for bits in (1, 2, 4, 8)]
            assert all(less < more for more, less in itertools.pairwise(errors)), (settings, errors)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_against_onnx_s_reference(bits: int, residual_graph: FloatGraph, pixels: Pixels) -> None:
    """Somebody else's operators, node for node, in Python: the clamped codes are those of QuantizeLinear and Clip."""
    images = pixels(2, SHAPE)
    integer, twin = made(residual_graph, images, weight_bits=bits, activation_bits=bits)
    model = onnx.ModelProto()
    model.CopyFrom(integer.model)
    model.opset_import[0].version = 21  # the reference has no older quantizers; these are the same
    (wanted,) = ReferenceEvaluator(model).run(None, {"image": images[:4]})
    with torch.no_grad():
        found = twin(floats(images[:4])).numpy()
    assert np.array_equal(found, wanted)
