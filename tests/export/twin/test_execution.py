"""Both plans of the twin give the same bits, and gradients of the same direction."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardtemper.export.lower import FloatGraph, lower
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.twin import twin as twin_module
from hardtemper.export.twin.int8.onednn import exact
from hardtemper.export.twin.twin import Twin

Build = Callable[..., onnx.ModelProto]
Run = Callable[..., Any]
Pixels = Callable[..., NDArray[np.uint8]]

SHAPE = (3, 12, 12)

pytestmark = pytest.mark.skipif(not exact(), reason="no exact 8-bit kernels on this processor")


def floats(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).float() / 255


def names(twin: Twin) -> list[str]:
    """The operators of the plan on bytes."""
    assert twin._on_bytes is not None
    return [step.operator.func.__name__ for step in twin._on_bytes.plan.steps]  # type: ignore[attr-defined]


def both(twin: Twin, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Activations node for node, and on bytes."""
    with torch.no_grad():
        by_node, twin_module_exact = {}, twin_module.exact
        try:
            twin_module.exact = lambda: False  # type: ignore[assignment]
            by_node = twin.activations(images)
        finally:
            twin_module.exact = twin_module_exact
        assert twin._on_bytes is None
        return by_node, twin.activations(images)


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """What runs on bytes from end to end."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


@pytest.fixture(scope="module")
def plain_integer(plain: nn.Module, prepare: Callable[..., nn.Module], pixels: Pixels) -> IntegerGraph:
    return quantize(lower(prepare(plain, pixels(32, SHAPE)), input_shape=SHAPE), pixels(32, SHAPE))


def input_gradient(twin: Twin, images: Tensor, *, trained: bool) -> tuple[Tensor, Tensor]:
    twin.requires_grad_(trained)
    images = images.clone().requires_grad_()
    logits = twin(images)
    loss = nn.functional.cross_entropy(logits, torch.arange(len(images)) % 10, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    return logits.detach(), gradient.flatten(1)


def test_all_of_a_plain_network_is_on_bytes(plain_integer: IntegerGraph, pixels: Pixels) -> None:
    twin = Twin(plain_integer.model)
    by_node, on_bytes = both(twin, floats(pixels(16, SHAPE, seed=1)))
    assert names(twin) == ["_requantized", "_requantized", "max_pool", "flatten", "_requantized", "_accumulated"]
    assert by_node.keys() == on_bytes.keys()
    for name, values in by_node.items():
        assert torch.equal(values, on_bytes[name]), name


@pytest.mark.parametrize("scales", ["power-of-two", "free"])
def test_a_network_of_every_kind_of_layer(scales: Any, residual_graph: FloatGraph, pixels: Pixels) -> None:
    model = quantize(residual_graph, pixels(32, SHAPE), scheme=Scheme(scales=scales)).model
    twin = Twin(model)
    by_node, on_bytes = both(twin, floats(pixels(16, SHAPE, seed=1)))
    layers = sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    assert names(twin).count("_requantized") + names(twin).count("_accumulated") == layers
    assert names(twin).count("_requantized") == (layers - 1 if scales == "power-of-two" else 0)
    assert ("_added" in names(twin)) == (scales == "power-of-two")
    for name, values in by_node.items():
        assert torch.equal(values, on_bytes[name]), name


def test_gradients_point_the_same_way(
    plain_integer: IntegerGraph, residual_integer: IntegerGraph, pixels: Pixels
) -> None:
    images = floats(pixels(32, SHAPE, seed=2))
    for integer in (plain_integer, residual_integer):
        twin = Twin(integer.model)
        wanted_logits, wanted = input_gradient(twin, images, trained=True)
        logits, mine = input_gradient(twin, images, trained=False)
        assert torch.equal(logits, wanted_logits)
        assert nn.functional.cosine_similarity(mine, wanted).median() > 0.95


def test_pixels_outside_the_range_have_no_gradient(plain_integer: IntegerGraph) -> None:
    images = torch.full((1, *SHAPE), 0.5)
    images[0, 0, 0, 0], images[0, 1, 5, 5] = -0.2, 1.2
    _, gradient = input_gradient(Twin(plain_integer.model), images, trained=False)
    outside = ((images < 0) | (images > 1)).flatten()
    assert (gradient[0, outside] == 0).all()
    assert (gradient[0, ~outside] != 0).float().mean() > 0.5


@pytest.mark.parametrize("how", ["in place", "behind autograd's back", "another tensor", "a buffer"])
def test_changed_weights_are_noticed(how: str, plain_integer: IntegerGraph, pixels: Pixels) -> None:
    twin, images = Twin(plain_integer.model), floats(pixels(4, SHAPE))
    with torch.no_grad():
        before = twin(images)
        plan = twin._plan(images)
        assert twin._plan(images) is plan
        first = next(parameter for parameter in twin.parameters() if parameter.dim() == 4)
        if how == "in place":
            first.neg_()
        elif how == "behind autograd's back":
            first.data.neg_()
        elif how == "another tensor":
            first.data = -first
        else:
            scale = next(stored.scale for _, stored in twin._codes.values())
            twin.get_buffer(twin._keys[scale]).mul_(2)
        after = twin(images)
    assert twin._plan(images) is not plan
    assert not torch.equal(before, after)
    twin.requires_grad_(True)
    assert torch.equal(twin(images), after)


def test_training_goes_node_by_node(plain_integer: IntegerGraph, pixels: Pixels) -> None:
    twin, images = Twin(plain_integer.model), floats(pixels(4, SHAPE))
    twin(images).sum().backward()
    assert twin._on_bytes is None
    assert all(parameter.grad is not None for parameter in twin.parameters())


def test_a_copy_makes_its_own_plan(plain_integer: IntegerGraph, pixels: Pixels) -> None:
    twin, images = Twin(plain_integer.model), floats(pixels(4, SHAPE))
    with torch.no_grad():
        logits = twin(images)
        again = copy.deepcopy(twin)
        assert again._on_bytes is None
        assert torch.equal(again(images), logits)


@pytest.mark.parametrize("pads", ["0,0,0,0", "1,1,1,1", "0,1,1,0"])
def test_max_pool_on_bytes(pads: str, build: Build) -> None:
    """Its gradient goes to the largest pixel of each window, the first of equals."""
    model = build(
        f"x = DequantizeLinear(image, s, z) y = MaxPool<kernel_shape=[2,2], strides=[2,2], pads=[{pads}]>(x)"
        " q = QuantizeLinear(y, s, z) d = DequantizeLinear(q, s, z) logits = Flatten(d)",
        inputs={"image": "uint8[N,1,4,4]"},
        outputs={"logits": "float[N,K]"},
        constants={"s": np.float32(0.5), "z": np.uint8(0)},
    )
    twin = Twin(model)
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pixels = (images * 255).round().requires_grad_()
    left, right = int(pads[2]), int(pads[6])
    top, bottom = int(pads[0]), int(pads[4])
    wanted = nn.functional.max_pool2d(nn.functional.pad(pixels, (left, right, top, bottom)), 2).flatten(1) * 0.5
    leaf = images.clone().requires_grad_()
    logits = twin(leaf)
    assert names(twin) == ["max_pool", "dequantize", "flatten"]
    assert torch.equal(logits, wanted)
    (mine,), (theirs,) = torch.autograd.grad(logits.sum(), leaf), torch.autograd.grad(wanted.sum(), pixels)
    assert torch.equal(mine, theirs * 255)


@pytest.mark.parametrize("relu", ["", " r = Relu(y)"])
@pytest.mark.parametrize("shape", ["N,2,3,3", "N,2,1,1"])
@pytest.mark.parametrize("scales", [(0.5, 0.25, 0.5), (0.125, 1.0, 0.25), (0.5, 0.25, 0.3)])
def test_sums_on_bytes(scales: tuple[float, float, float], shape: str, relu: str, build: Build, run: Run) -> None:
    """Zero points, ties, saturation, a sum over a whole plane; scales that are no powers of two stay as they were.

    The engine adds an odd zero point before it rounds a tie.
    """
    pool = "GlobalMaxPool(xa)" if shape.endswith("1,1") else "Identity(xa)"
    model = build(
        f"xa = DequantizeLinear(image, sa, za) p = {pool} qa = QuantizeLinear(p, sa, za)"
        " a = DequantizeLinear(qa, sa, za) qb = QuantizeLinear(xa, sb, zb) b = DequantizeLinear(qb, sb, zb)"
        " y = Add(a, b)"
        f"{relu} q = QuantizeLinear({'r' if relu else 'y'}, sy, zy)"
        " d = DequantizeLinear(q, sy, zy) logits = Flatten(d)",
        inputs={"image": "uint8[N,2,3,3]"},
        outputs={"logits": "float[N,18]"},
        constants={
            **{name: np.float32(scale) for name, scale in zip(("sa", "sb", "sy"), scales, strict=True)},
            "za": np.uint8(4),
            "zb": np.uint8(31),
            "zy": np.uint8(0 if relu else 9),
        },
    )
    twin = Twin(model)
    images = torch.randint(0, 256, (64, 2, 3, 3), generator=torch.Generator().manual_seed(0)).float() / 255
    by_node, on_bytes = both(twin, images)
    assert ("_added" in names(twin)) == (scales[2] != 0.3)
    for name, values in by_node.items():
        assert torch.equal(values, on_bytes[name]), name
    feed = {"image": (images * 255).round().byte().numpy()}
    assert np.array_equal(on_bytes["logits"].numpy(), run(model, feed, optimize=True)[0])
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(twin(leaf).sum(), leaf)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("attributes", ["", "<transB=1>", "<transB=0>", "<transB=1, alpha=0.5>"])
def test_a_gemm_of_square_weights(attributes: str, build: Build, run: Run) -> None:
    """Rows and columns of the weights could be taken for one another."""
    axis, rng = int("B=1" not in attributes), np.random.default_rng(0)
    model = build(
        f"d = DequantizeLinear(image, s, z) f = Flatten(d) w = DequantizeLinear<axis={axis}>(wq, sw)"
        f" logits = Gemm{attributes}(f, w)",
        inputs={"image": "uint8[N,3,2,2]"},
        outputs={"logits": "float[N,12]"},
        constants={
            "s": np.float32(1 / 256),
            "z": np.uint8(0),
            "wq": rng.integers(-127, 128, (12, 12)).astype(np.int8),
            "sw": np.full(12, 2.0**-7, np.float32),
        },
    )
    images = rng.integers(0, 256, (5, 3, 2, 2)).astype(np.uint8)
    with torch.no_grad():
        found = Twin(model)(floats(images)).numpy()
    np.testing.assert_array_equal(found, run(model, {"image": images}, optimize=True)[0])


def test_scales_too_far_apart_for_sums_on_bytes(build: Build) -> None:
    """float32 does not hold 255 beside steps of 2^-17."""
    model = build(
        "a = DequantizeLinear(image, sa, z) b = DequantizeLinear(image, sb, z) y = Add(a, b)"
        " q = QuantizeLinear(y, sa, z) d = DequantizeLinear(q, sa, z) logits = Flatten(d)",
        inputs={"image": "uint8[N,1,2,2]"},
        outputs={"logits": "float[N,4]"},
        constants={"sa": np.float32(1), "sb": np.float32(2.0**-17), "z": np.uint8(0)},
    )
    twin = Twin(model)
    with torch.no_grad():
        twin(torch.zeros(1, 1, 2, 2))
    assert "_added" not in names(twin)


CONV = (
    "x = DequantizeLinear(image, s, z) w = DequantizeLinear(wq, s, zw) y = Conv<{}>(x, w)"
    " q = QuantizeLinear(y, sy, zy) d = DequantizeLinear(q, sy, zy) logits = Flatten(d)"
)


@pytest.mark.parametrize(
    ("attributes", "shape", "weight", "on_bytes"),
    [
        ("group=8, strides=[1,2], pads=[0,1,0,1]", (8, 13, 3), (16, 1, 3, 4), False),
        ("group=4, strides=[1,2], pads=[1,0,1,0]", (4, 11, 4), (8, 1, 3, 3), False),
        ("group=4, strides=[2,2], pads=[1,1,1,1]", (8, 11, 4), (8, 2, 3, 3), True),
        ("strides=[2,2], pads=[1,1,1,1]", (8, 11, 11), (8, 8, 3, 3), True),
    ],
)
def test_convolutions_that_the_kernels_get_wrong(  # noqa: PLR0917
    attributes: str, shape: tuple[int, ...], weight: tuple[int, ...], on_bytes: bool, build: Build, run: Run
) -> None:
    rng = np.random.default_rng(0)
    model = build(
        CONV.format(attributes),
        inputs={"image": f"uint8[N,{','.join(map(str, shape))}]"},
        outputs={"logits": "float[N,K]"},
        constants={
            "s": np.float32(2.0**-7),
            "z": np.uint8(3),
            "zw": np.int8(0),
            "wq": rng.integers(-127, 128, weight).astype(np.int8),
            "sy": np.float32(2.0**-5),
            "zy": np.uint8(128),
        },
    )
    images = rng.integers(0, 256, (8, *shape)).astype(np.uint8)
    twin = Twin(model)
    with torch.no_grad():
        logits = twin(floats(images))
    assert np.array_equal(logits.numpy(), run(model, {"image": images}, optimize=True)[0])
    assert ("_requantized" in names(twin)) == on_bytes


def test_no_images(plain_integer: IntegerGraph, residual_integer: IntegerGraph, pixels: Pixels) -> None:
    images = floats(pixels(4, SHAPE))[:0]
    for integer in (plain_integer, residual_integer):
        twin = Twin(integer.model)
        for found in both(twin, images):
            assert found["logits"].shape == (0, 10)
