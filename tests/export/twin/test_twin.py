"""The twin on whole graphs: gradients, training, writing back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from hardtemper.export.lower import FloatGraph
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import ModelError

Build = Callable[..., onnx.ModelProto]
Run = Callable[..., Any]
Pixels = Callable[..., NDArray[np.uint8]]

SHAPE = (3, 12, 12)


def floats(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images).float() / 255


def input_gradient(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    images = images.clone().requires_grad_()
    nn.functional.cross_entropy(module(images), labels).backward()
    assert images.grad is not None
    return images.grad.flatten(1)


def train(twin: Twin, images: NDArray[np.uint8], *, steps: int = 4, learning_rate: float = 0.1) -> list[float]:
    """A few steps towards labels that a checksum of the image gives."""
    labels = torch.from_numpy(images.reshape(len(images), -1).astype(np.int64).sum(1) % 10)
    optimizer = torch.optim.SGD(twin.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(twin(floats(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def initializers(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def one_layer(build: Build) -> onnx.ModelProto:
    """q = clamp(round(0.5 * (pixel/2 * 3 + 1 * 8)), 0, 255) per pixel; logits are q / 4."""
    return build(
        "x = DequantizeLinear(image, sx, zu) w = DequantizeLinear<axis=0>(wq, sw, zw)"
        " b = DequantizeLinear<axis=0>(bq, sb, zb) y = Conv(x, w, b) q = QuantizeLinear(y, sy, zu)"
        " d = DequantizeLinear(q, sy, zu) logits = Flatten(d)",
        inputs={"image": "uint8[N,1,2,2]"},
        outputs={"logits": "float[N,4]"},
        constants={
            "sx": np.float32(0.5),
            "zu": np.uint8(0),
            "wq": np.array([[[[3]]]], np.int8),
            "sw": np.array([0.25], np.float32),
            "zw": np.zeros(1, np.int8),
            "bq": np.array([8], np.int32),
            "sb": np.array([0.125], np.float32),
            "zb": np.zeros(1, np.int32),
            "sy": np.float32(0.25),
        },
    )


def test_straight_through_rules_on_one_layer(build: Build) -> None:
    twin = Twin(one_layer(build))
    pixels = np.array([0, 7, 100, 255], np.float32)
    images = torch.from_numpy(pixels.reshape(1, 1, 2, 2) / 255 + 0.001).requires_grad_()  # off the pixel, to be rounded
    logits = twin(images)
    accumulator = pixels * 3 + 8  # in steps of 0.5 * 0.25 = 1/8; the result's step is 1/4
    rounded = np.rint(accumulator / 2)
    assert logits.tolist() == [(np.clip(rounded, 0, 255) / 4).tolist()]
    logits.sum().backward()
    inside = rounded <= 255
    assert inside.tolist() == [True, True, True, False]
    # d logit / d image = 255 pixels * 0.5 * (3 * 0.25) where the clamp lets it through
    assert images.grad is not None
    assert images.grad.flatten().tolist() == (inside * np.float32(255 * 0.5 * 0.75)).tolist()
    weight, bias = (twin.get_parameter(twin._keys[name]) for name in ("wq", "bq"))
    assert weight.grad is not None
    assert bias.grad is not None
    assert weight.item() == 0.75  # the shadow starts at the integers
    assert bias.item() == 1
    assert weight.grad.item() == (inside * pixels).sum() * 0.5
    assert bias.grad.item() == inside.sum()


@pytest.mark.parametrize("trained", [False, True])
def test_integers_are_never_multiplied_in_bfloat16(build: Build, trained: bool) -> None:
    twin = Twin(one_layer(build)).requires_grad_(trained)
    images = torch.from_numpy(np.array([83, 7, 101, 255], np.float32).reshape(1, 1, 2, 2) / 255)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = twin(images)
    assert found.dtype == torch.float32
    assert torch.equal(found, twin(images))


def test_pixels_outside_the_range_have_no_gradient(build: Build) -> None:
    twin = Twin(one_layer(build))
    images = torch.tensor([[[[-0.2, 0.0], [0.3, 1.2]]]], requires_grad=True)
    twin(images).sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten() != 0).tolist() == [False, True, True, False]


def test_weights_saturate(build: Build) -> None:
    twin = Twin(one_layer(build))
    parameter = twin.get_parameter(twin._keys["wq"])
    with torch.no_grad():
        parameter.fill_(1000.0)
    assert initializers(twin.to_onnx())["wq"].item() == 63  # the graph held 7 bits, so that it stays in them
    twin(torch.full((1, 1, 2, 2), 0.01)).sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.item() == 0


def test_input_gradients_point_as_those_of_the_float_module(
    residual: nn.Module, residual_graph: FloatGraph, pixels: Pixels
) -> None:
    integer = quantize(residual_graph, pixels(32, SHAPE), scheme=Scheme(scales="free"))
    images = floats(pixels(32, SHAPE, seed=3)[:32])
    labels = residual(images).argmax(1)
    mine, wanted = (input_gradient(module, images, labels) for module in (Twin(integer.model), residual))
    assert nn.functional.cosine_similarity(mine, wanted).median() > 0.9


@pytest.mark.parametrize("scales", ["power-of-two", "free"])
def test_what_is_trained_is_what_runs(scales: Any, residual_graph: FloatGraph, pixels: Pixels) -> None:
    integer = quantize(residual_graph, pixels(32, SHAPE), scheme=Scheme(scales=scales))
    twin = Twin(integer.model, shadow=integer.shadow)
    losses = train(twin, pixels(32, SHAPE))
    assert losses[-1] < losses[0]
    trained = twin.to_onnx()
    before, after = initializers(integer.model), initializers(trained)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed <= integer.shadow.keys()
    assert len(changed) >= len(integer.shadow) - 2
    assert {name: (array.dtype, array.shape) for name, array in after.items()} == {
        name: (array.dtype, array.shape) for name, array in before.items()
    }
    parity = check_parity(trained, pixels(16, SHAPE, seed=5), twin=twin, unoptimized=scales == "power-of-two")
    assert parity.exact
    # and a twin of what was written, with the shadows, goes on where this one stopped; saturated ones end on the grid
    again = Twin(trained, shadow=twin.shadow())
    images = floats(pixels(4, SHAPE))
    assert torch.equal(again(images), twin(images))
    for name, values in twin.shadow().items():
        moved = again.shadow()[name] != values
        assert (np.abs(after[name][moved].astype(int)) == 127).all()


def test_the_first_forward_is_the_graph_as_it_stands(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    """Shadows that do not round to the stored integers (another graph's, or clipped weights) give way."""
    shadow = {name: values + 100 for name, values in residual_integer.shadow.items()}
    images = floats(pixels(4, SHAPE))
    assert torch.equal(Twin(residual_integer.model, shadow=shadow)(images), Twin(residual_integer.model)(images))


def test_untrained_graphs_are_written_byte_for_byte(residual_integer: IntegerGraph, residual_graph: FloatGraph) -> None:
    for model, shadow in (
        (residual_integer.model, residual_integer.shadow),
        (residual_integer.model, None),
        (residual_graph.model, None),
    ):
        assert Twin(model, shadow=shadow).to_onnx().SerializeToString() == model.SerializeToString()


def test_float_graphs_train_too(residual_graph: FloatGraph, pixels: Pixels, run: Run) -> None:
    twin = Twin(residual_graph.model)
    train(twin, pixels(16, SHAPE), steps=2)
    images = floats(pixels(4, SHAPE))
    (wanted,) = run(twin.to_onnx(), {"image": images.numpy()})
    np.testing.assert_allclose(twin(images).detach().numpy(), wanted, rtol=1e-4, atol=1e-4)
    assert not np.array_equal(wanted, run(residual_graph.model, {"image": images.numpy()})[0])


def test_attributes(residual_integer: IntegerGraph, residual_graph: FloatGraph) -> None:
    twin = Twin(residual_integer.model)
    assert (twin.takes_pixels, twin.input_shape, twin.output) == (True, SHAPE, "logits")
    assert len(twin.quantizers) == len(set(twin.quantizers)) >= 10
    assert set(twin.activations(torch.zeros(2, *SHAPE))) == {*twin.quantizers, "logits"}
    plain = Twin(residual_graph.model)
    assert (plain.takes_pixels, plain.quantizers) == (False, ())


def test_activations_are_integers(residual_integer: IntegerGraph, pixels: Pixels) -> None:
    twin = Twin(residual_integer.model)
    found = twin.activations(floats(pixels(4, SHAPE)))
    for name in twin.quantizers:
        q = found[name]
        assert torch.equal(q, q.round())
        assert q.min() >= 0
        assert q.max() <= 255


def test_results_within_the_graph_are_the_engines_in_real_numbers(
    residual_integer: IntegerGraph, pixels: Pixels
) -> None:
    model, images = residual_integer.model, pixels(4, SHAPE)
    twin = Twin(model)
    readers = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    with torch.no_grad():
        integers = twin.activations(floats(images))
        names = {name: readers[name] for name in twin.quantizers if name in readers}
        real = twin.results(floats(images), names.values())
    assert torch.equal(real[twin.output], integers[twin.output])
    stored = initializers(model)
    for name, behind in names.items():
        (node,) = [node for node in model.graph.node if node.output[0] == behind]
        scale, zero = (float(stored[given]) for given in node.input[1:])
        assert torch.equal(real[behind], (integers[name] - zero) * scale)


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        ({"x": "float[N,3,8,8]", "z": "float[N,3,8,8]"}, "2 inputs"),
        ({"x": "float[N,8]"}, r"shape \[0, 8\]"),
        ({"x": "float[N,3,8,W]"}, r"shape \[0, 3, 8, 0\]"),
        ({"x": "int32[N,3,8,8]"}, "INT32"),
    ],
)
def test_what_is_no_classifier_is_refused(inputs: dict[str, str], got: str, build: Build) -> None:
    model = build("y = Identity(x)", inputs=inputs, outputs={"y": inputs["x"]})
    with pytest.raises(ModelError, match=got):
        Twin(model)


def test_unknown_element_types_are_refused(build: Build) -> None:
    model = build(
        "s = Shape(k) f = Cast<to=1>(s) y = Add(x, f)",
        inputs={"x": "float[N,3,8,8]"},
        outputs={"y": "float[N,3,8,8]"},
        constants={"k": np.array(["text"], object)},
    )
    with pytest.raises(ModelError, match="'k'"):
        Twin(model)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("y = GlobalAveragePool(x)", [7, 3]),
        ("t = GlobalAveragePool(x) y = Transpose<perm=[0,2,3,1]>(t)", [7, 3]),
        ("y = Relu(x)", [7, 3, 4, 4]),
    ],
)
def test_axes_of_size_one_are_no_logits(text: str, shape: list[int], build: Build, pixels: Pixels, run: Run) -> None:
    """As in `runtime/backends/image_classifier.py`; a map stays a map."""
    model = build(text, inputs={"x": "float[N,3,4,4]"}, outputs={"y": "float[N,a,b,c]"}, constants={})
    images = floats(pixels(3, (3, 4, 4)))
    (wanted,) = run(model, {"x": images.numpy()})
    logits = Twin(model)(images)
    assert list(logits.shape) == shape
    np.testing.assert_allclose(logits.numpy().reshape(wanted.shape), wanted, rtol=1e-6)
