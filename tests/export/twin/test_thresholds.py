"""Thresholds have the gradients of torch's learnable quantizers, and wherever they move there is one function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from hardtemper.export.lower import FloatGraph, lower
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.twin.movable_scales import movable_scales
from hardtemper.export.twin.thresholds import Thresholds, power_of_two_ste
from hardtemper.export.twin.twin import Twin

Pixels = Callable[..., NDArray[np.uint8]]


def twin_of(integer: IntegerGraph) -> tuple[Twin, Thresholds]:
    learned = movable_scales(integer.model, integer.bounded)
    twin = Twin(integer.model, shadow=integer.shadow, weight_bits=integer.weight_bits, learned=learned)
    assert twin.thresholds is not None
    return twin, twin.thresholds


def initializers(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_powers_of_two_are_exact_and_straight_through() -> None:
    exponents = torch.linspace(-60, 60, 481, requires_grad=True)
    powers = power_of_two_ste(exponents)
    assert powers.tolist() == [2.0 ** math.ceil(e) for e in exponents.tolist()]
    powers.sum().backward()
    np.testing.assert_allclose(exponents.grad, powers.detach() * math.log(2), rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gradients_are_those_of_torchs_learnable_quantizers(bits: int, pixels: Pixels) -> None:
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 5)
    images = pixels(12, (1, 8, 8))
    graph = lower(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear).eval(), input_shape=(1, 8, 8))
    integer = quantize(graph, images, scheme=Scheme(weight_bits=bits, activation_bits=bits, end_bits=bits))
    twin, thresholds = twin_of(integer)
    mix = torch.randn(len(images), 5)
    (twin(torch.from_numpy(images).float() / 255) * mix).sum().backward()

    stored = initializers(integer.model)
    scales = {name: torch.tensor(array, requires_grad=True) for name, array in stored.items() if name in thresholds}
    (activation,) = next(iter(movable_scales(integer.model, integer.bounded).together))[:1]
    largest = max(2 ** (bits - 1) - 1, 1)

    def layer(label: str, read: Tensor) -> tuple[Tensor, Tensor]:
        weight = next(name for name in integer.shadow if name.startswith(label) and "weight" in name)
        bias = next(name for name in integer.shadow if name.startswith(label) and "bias" in name)
        step = scales[weight.replace("_quantized", "_scale")]
        w, b = (twin.get_parameter(twin.parameter_names[name]).detach() for name in (weight, bias))
        zero = torch.zeros(len(step))
        w = torch._fake_quantize_learnable_per_channel_affine(w, step, zero, 0, -largest, largest, 1.0)
        column = (b[:, None], step * read, zero, 0, -(2**22), 2**22)
        return w, torch._fake_quantize_learnable_per_channel_affine(*column, 1.0)[:, 0]

    step = scales[activation]
    x = torch.nn.functional.conv2d(torch.from_numpy(images).float() / 256, *layer("0.", torch.tensor(2.0**-8)))
    x = torch._fake_quantize_learnable_per_tensor_affine(x, step.reshape(1), torch.zeros(1), 0, 2**bits - 1, 1.0)
    logits = torch.nn.functional.linear(x.flatten(1), *layer("3.", step))
    (logits * mix).sum().backward()

    exponents = thresholds.exponents.grad
    assert exponents is not None
    for name, scale in scales.items():
        if name in thresholds._own:
            assert scale.grad is not None
            wanted = (scale.grad * scale.detach() * math.log(2)).reshape(-1)  # dx'/dl = s ln 2 dx'/ds
            np.testing.assert_allclose(exponents[thresholds._own[name]], wanted, rtol=1e-3, atol=1e-3)
    assert (exponents != 0).float().mean() > 0.5


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_wherever_they_move_there_is_one_function(bits: int, residual_graph: FloatGraph, pixels: Pixels) -> None:
    images = pixels(12, (3, 12, 12))
    integer = quantize(residual_graph, images, scheme=Scheme(weight_bits=bits, activation_bits=bits))
    twin, thresholds = twin_of(integer)
    assert twin.to_onnx() == integer.model  # the first forward pass is the graph as it stands
    with torch.no_grad():
        thresholds.exponents.add_(
            2 * torch.randn(thresholds.exponents.shape, generator=torch.Generator().manual_seed(0))
        )
    model = twin.to_onnx()
    onnx.checker.check_model(model, full_check=True)
    before, after = initializers(integer.model), initializers(model)
    changed = [name for name in before if name.endswith("_scale") and not np.array_equal(before[name], after[name])]
    assert len(changed) > 8
    assert all((np.frexp(after[name])[0] == 0.5).all() for name in changed)
    parity = check_parity(model, images, twin=twin)
    assert parity.exact, [activation for activation in parity.activations if activation.mismatches]
    assert torch.equal(Twin(model)(torch.from_numpy(images) / 255), twin(torch.from_numpy(images) / 255))
    assert thresholds.to_json()["moved"] == int((thresholds.exponents.ceil() != 0).sum()) > 20


def test_a_bias_stays_within_float32(pixels: Pixels) -> None:
    """Scales that shrink make its integer grow: it ends at 2^22, in the twin and in the graph alike."""
    torch.manual_seed(0)
    linear = nn.Linear(16, 3)
    with torch.no_grad():
        linear.bias.fill_(100.0)
    images = pixels(4, (1, 4, 4))
    integer = quantize(lower(nn.Sequential(nn.Flatten(), linear).eval(), input_shape=(1, 4, 4)), images)
    twin, thresholds = twin_of(integer)
    with torch.no_grad():
        thresholds.exponents.sub_(10)
    model = twin.to_onnx()
    (bias,) = (array for array in initializers(model).values() if array.dtype == np.int32 and array.any())
    assert bias.tolist() == [2**22] * 3
    assert check_parity(model, images, twin=twin).exact
