"""Nets of many shapes: nothing but integer kernels runs, and twin, engine and unoptimized graph are one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from hardtemper.bench.data.vision import torchvision
from hardtemper.export.lower import FloatGraph, lower, lower_onnx
from hardtemper.export.proofs.executed_kernels import inspect_kernels
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import IntegerGraph, check_operators, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import DataError, UnsupportedOperatorError

Pixels = Callable[..., NDArray[np.uint8]]


class Preactivation(nn.Module):
    """ReLUs that no operator feeds alone: before a convolution, beside a shortcut, behind a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, bias=False))
        self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.head = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = torch.relu(torch.cat([x, x + self.second(x)], 1))
        return self.head(self.pool(x).flatten(1))  # type: ignore[no-any-return]


class Clamped(nn.Module):
    """ReLU6 where no weights behind could take its scale, and bounds of other kinds; logits that end in a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.hard = nn.Hardtanh(-0.7, 1.3)
        self.head = nn.Linear(6 * 64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(9 * self.first(x))
        x = nn.functional.relu6(x + self.hard(4 * self.second(x)))
        return torch.relu(self.head(x.flatten(1)))


class Shuffled(nn.Module):
    """ShuffleNet's moves: half of the channels pass by, then all are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passing, x = torch.relu(self.first(x)).chunk(2, 1)
        x = torch.cat([passing, torch.relu(self.second(x))], 1)
        x = x.reshape(-1, 2, 4, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8)
        return self.head(nn.functional.max_pool2d(x, 8).flatten(1))  # type: ignore[no-any-return]


class Matrices(nn.Module):
    """Linear layers only, one without a bias and one as a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 24, bias=False)
        self.third = nn.Parameter(torch.randn(24, 10) / 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x.flatten(1)))
        return torch.relu(self.second(x)) @ self.third


def _vgg16() -> nn.Module:
    """torchvision's, with the head that fits images of 32x32."""
    net = torchvision().models.vgg16(weights=None, num_classes=10)
    net.avgpool, net.classifier[0] = nn.Identity(), nn.Linear(512, 4096)
    return net  # type: ignore[no-any-return]


class Shared(nn.Module):
    """Layers that are used twice, and a pool whose ceil_mode makes no window overhang."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.head, self.twice = nn.Linear(6 * 16, 10), nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.again(torch.relu(self.again(torch.relu(self.first(x))))))
        x = torch.relu(self.head(self.pool(x).flatten(1)))
        return self.twice(torch.relu(self.twice(x)))  # type: ignore[no-any-return]


class Net(NamedTuple):
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]


def _zoo(name: str) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision().models, name)(weights=None, num_classes=10)  # type: ignore[no-any-return]


NETS = {
    "preactivation": Net(Preactivation, (1, 8, 8)),
    "clamped": Net(Clamped, (1, 8, 8)),
    "shuffled": Net(Shuffled, (1, 8, 8)),
    "matrices": Net(Matrices, (1, 8, 8)),
    "shared": Net(Shared, (1, 8, 8)),
    "resnet18": Net(_zoo("resnet18"), (3, 32, 32)),
    "mobilenet_v2": Net(_zoo("mobilenet_v2"), (3, 32, 32)),
    "squeezenet1_1": Net(_zoo("squeezenet1_1"), (3, 48, 48)),
    "vgg16": Net(_vgg16, (3, 32, 32)),
}
NAMES = ["residual", *(pytest.param(name, marks=pytest.mark.slow) if name == "vgg16" else name for name in NETS)]


@pytest.fixture(scope="module")
def graph(residual_graph: FloatGraph, prepare: Any, pixels: Pixels) -> Callable[[str], FloatGraph]:
    """The float graph of a net, made once."""
    made = {"residual": residual_graph}

    def get(name: str) -> FloatGraph:
        if name not in made:
            torch.manual_seed(0)
            net = NETS[name]
            made[name] = lower(prepare(net.make(), pixels(12, net.shape)), input_shape=net.shape)
        return made[name]

    return get


@pytest.mark.parametrize("name", NAMES)
def test_power_of_two_scales_are_exact(name: str, graph: Callable[[str], FloatGraph], pixels: Pixels) -> None:
    source = graph(name)
    integer = quantize(source, pixels(12, source.input_shape))
    report = inspect_kernels(integer.model)
    assert report.integer_share == 1.0
    assert report.float_kernels == ()
    parity = check_parity(integer.model, pixels(12, source.input_shape, seed=1))
    assert parity.exact, [activation for activation in parity.activations if activation.mismatches]
    scales = [numpy_helper.to_array(t) for t in integer.model.graph.initializer if t.name.endswith("_scale")]
    assert all((np.frexp(scale)[0] == 0.5).all() for scale in scales)
    assert len(parity.activations) > 0


@pytest.mark.parametrize(
    "name", ["residual", "preactivation", "clamped", "shuffled", "matrices", "shared", "resnet18", "mobilenet_v2"]
)
def test_free_scales_run_on_integers_too(name: str, graph: Callable[[str], FloatGraph], pixels: Pixels) -> None:
    source = graph(name)
    integer = quantize(source, pixels(12, source.input_shape), scheme=Scheme(scales="free"))
    report = inspect_kernels(integer.model)
    assert report.integer_share == 1.0
    assert report.float_kernels == ()
    parity = check_parity(integer.model, pixels(12, source.input_shape, seed=1), unoptimized=False)
    assert parity.exact, [activation for activation in parity.activations if activation.mismatches]


@pytest.mark.parametrize(
    "name", ["residual", "preactivation", "clamped", "shuffled", "matrices", "resnet18", "mobilenet_v2"]
)
def test_graphs_for_tensorrt_are_exact(name: str, graph: Callable[[str], FloatGraph], pixels: Pixels) -> None:
    """int8 without zero points; convolutions that sums read are float operators in ONNX Runtime, and exact as such."""
    source = graph(name)
    integer = quantize(source, pixels(12, source.input_shape), scheme=Scheme(target="tensorrt"))
    parity = check_parity(integer.model, pixels(12, source.input_shape, seed=1))
    assert parity.exact, [activation for activation in parity.activations if activation.mismatches]
    assert len(parity.activations) > 0
    report = inspect_kernels(integer.model)
    layers = [kernel for kernel in report.kernels if kernel.macs]
    sums = sum(node.op_type == "Add" for node in integer.model.graph.node)
    in_float = [kernel for kernel in layers if not kernel.integer]
    assert len(in_float) <= 1 + sums  # the one that reads uint8, and one a sum


@pytest.mark.parametrize("scales", ["power-of-two", "free"])
def test_seven_bits(scales: Any, residual_graph: FloatGraph, pixels: Pixels) -> None:
    scheme = Scheme(weight_bits=7, scales=scales)
    integer = quantize(residual_graph, pixels(12, (3, 12, 12)), scheme=scheme)
    stored = [numpy_helper.to_array(t) for t in integer.model.graph.initializer]
    weights = [array for array in stored if array.dtype == np.int8 and array.ndim > 1]
    assert len(weights) >= 6
    assert max(int(np.abs(weight.astype(int)).max()) for weight in weights) == 63
    assert check_parity(integer.model, pixels(4, (3, 12, 12)), unoptimized=False).exact


def test_clamps_on_a_grid_that_does_not_end_there(graph: Callable[[str], FloatGraph], pixels: Pixels) -> None:
    """ReLU6 at scale 2^-5: 6 is 192 of 255. The convolution stays an integer kernel, and so does the Clip."""
    integer = quantize(graph("clamped"), pixels(12, (1, 8, 8)))
    clips = [node for node in integer.model.graph.node if node.op_type == "Clip"]
    assert len(clips) >= 2
    stored = {t.name: numpy_helper.to_array(t) for t in integer.model.graph.initializer}
    assert {stored[node.input[2]].item() for node in clips} & {96, 192}
    kernels = [kernel for kernel in inspect_kernels(integer.model).kernels if kernel.operator == "Clip"]
    assert [kernel.output_types for kernel in kernels] == [("uint8",)] * len(clips)


@pytest.mark.parametrize("observer", ["minmax", "histogram", "percentile", "mse"])
def test_the_integer_graph_is_near_the_float_graph(
    observer: Any, residual: nn.Module, residual_graph: FloatGraph, pixels: Pixels
) -> None:
    integer = quantize(residual_graph, pixels(32, (3, 12, 12)), scheme=Scheme(observer=observer, scales="free"))
    images = torch.from_numpy(pixels(64, (3, 12, 12), seed=2)[:64]).float() / 255
    with torch.no_grad():
        wanted, found = residual(images), Twin(integer.model)(images)
    error = (found - wanted).square().mean() / wanted.var()
    assert error < 0.05


def test_shadows_are_what_the_integers_were_rounded_from(residual_integer: IntegerGraph) -> None:
    stored = {t.name: numpy_helper.to_array(t) for t in residual_integer.model.graph.initializer}
    dequantizers = [node for node in residual_integer.model.graph.node if node.input[0] in residual_integer.shadow]
    assert {node.input[0] for node in dequantizers} == residual_integer.shadow.keys()
    for node in dequantizers:
        integers, scale = stored[node.input[0]], stored[node.input[1]]
        step = scale.reshape(-1, *[1] * (integers.ndim - 1))
        limit = 127 if integers.dtype == np.int8 else 2**31 - 1
        rounded = np.clip(np.rint(residual_integer.shadow[node.input[0]].astype(np.float64) / step), -limit, limit)
        assert np.array_equal(rounded, integers)
    kinds = {stored[name].dtype for name in residual_integer.shadow}
    assert kinds == {np.dtype(np.int8), np.dtype(np.int32)}


def test_inputs_and_outputs(residual_integer: IntegerGraph) -> None:
    graph = residual_integer.model.graph
    (image,), (logits,) = graph.input, graph.output
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert [d.dim_value for d in image.type.tensor_type.shape.dim][1:] == [3, 12, 12]
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", onnx.TensorProto.FLOAT)


def test_what_stays_float_is_named(build: Any, pixels: Pixels) -> None:
    """Functions of one tensor, and what is none; all of it exact."""
    model = build(
        "t = Tanh(image) u = Mul(t, image) v = LogSoftmax<axis=1>(u) c = Conv(v, w) e = Elu(c) d = Conv(e, w) "
        "logits = Flatten(d)",
        inputs={"image": "float[N,3,4,4]"},
        outputs={"logits": "float[N,48]"},
        constants={"w": np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)},
    )
    integer = quantize(lower_onnx(model), pixels(8, (3, 4, 4)))
    assert [(found.operator, found.result) for found in integer.float_operators] == [
        ("Tanh, Mul", "u"), ("LogSoftmax", "v"), ("Elu", "e"),
    ]  # fmt: skip
    assert integer.tie_distances.keys() == {"e"}
    assert check_parity(integer.model, pixels(8, (3, 4, 4), seed=1)).exact


@pytest.mark.parametrize(
    ("text", "got"),
    [
        (
            "m = ReduceMean<keepdims=0>(image) k2 = Mul(k, m) c = Conv(image, k2) logits = Flatten(c)",
            "Conv with computed weights (c)",
        ),
        ('r = Resize<mode="linear">(image, , f) logits = Flatten(r)', "Resize with mode=linear"),
    ],
)
@pytest.mark.parametrize("scales", ["free", "power-of-two"])
def test_what_cannot_be_quantized_is_said(text: str, got: str, scales: Any, build: Any) -> None:
    inputs, outputs = {"image": "float[N,1,4,4]"}, {"logits": "float[N,M]"}
    constants = {"k": np.ones((1, 1, 4, 4), "f4")} if "k2" in text else {"f": np.array([1, 1, 2, 2], "f4")}
    graph = lower_onnx(build(text, inputs=inputs, outputs=outputs, constants=constants))
    for refuse in (check_operators, lambda g, scheme: quantize(g, np.zeros((1, 1, 4, 4), "u1"), scheme=scheme)):
        with pytest.raises(UnsupportedOperatorError) as caught:
            refuse(graph, Scheme(scales=scales))
        assert got in str(caught.value)


@pytest.mark.parametrize("scales", ["free", "power-of-two"])
@pytest.mark.parametrize(("name", "value"), [("weight", np.nan), ("weight", np.inf), ("bias", -np.inf)])
def test_weights_that_are_not_finite(name: str, value: float, scales: Any) -> None:
    """Of the last layer's, calibration sees nothing."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    getattr(module[1], name).data.flatten()[1] = value
    with pytest.raises(DataError, match=r"weights of .*weight.*expected: finite values"):
        quantize(lower(module, input_shape=(1, 4, 4)), np.zeros((2, 1, 4, 4), np.uint8), scheme=Scheme(scales=scales))


def test_no_images_are_refused(residual_graph: FloatGraph) -> None:
    with pytest.raises(DataError, match="at least one image"):
        quantize(residual_graph, np.zeros((0, 3, 12, 12), np.uint8))
