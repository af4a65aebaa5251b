"""Graphs as torch's exporters and ONNX Runtime's quantizers write them: transformers, shapes that are computed, fixed
batches, half and double precision, INT8 in both of ONNX Runtime's formats."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from torch import Tensor, nn

from hardtemper.bench.attacks.white_box.half_precision import HalfPrecisionGradients
from hardtemper.export.twin.twin import Twin

Run = Callable[..., Any]
SHAPE = (3, 16, 16)
WIDTH, CLASSES = 16, 5


class Transformer(nn.Module):
    """A class token, attention of several heads, an MLP, normalization before either."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.place = nn.Parameter(0.1 * torch.randn(1, 17, WIDTH))
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mixed, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        t = torch.cat([self.token.expand(images.shape[0], -1, -1), tokens], 1) + self.place
        n, length, _ = t.shape
        q, k, v = self.mixed(self.first(t)).reshape(n, length, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)
        t = t + self.out((attention @ v).transpose(1, 2).reshape(n, length, WIDTH))
        return self.head((t + self.mlp(self.second(t)))[:, 0])  # type: ignore[no-any-return]


class Chunks(nn.Module):
    """Channels in thirds, joined in another order, flattened by the batch's size: ShuffleNet's shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 48, 3, padding=1), nn.Conv2d(48, 16, 3, stride=2)
        self.head = nn.Linear(16 * 7 * 7, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        a, b, c = torch.relu(self.first(images)).chunk(3, 1)
        x = F.leaky_relu(self.second(torch.cat([c, b, a], 1)), 0.1)
        return self.head(x.view(x.size(0), -1))  # type: ignore[no-any-return]


class Pooled(nn.Module):
    """What a convolutional network has beside: sums, gates, pools, means."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.third, self.head = nn.Conv2d(32, 24, 3, stride=2, padding=1), nn.Linear(24, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.first(images))
        y = torch.relu(x + self.second(x))
        z = F.silu(self.third(torch.cat([y, F.max_pool2d(x, 3, 1, 1)], 1)))
        return self.head(F.avg_pool2d(z, 2).mean((2, 3)))  # type: ignore[no-any-return]


class InType(nn.Module):
    """A network in another precision, float32 outside."""

    def __init__(self, net: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.net, self.kind = net.to(kind), kind

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.to(self.kind)).float()  # type: ignore[no-any-return]


class Squeezing(nn.Module):
    """What works on one image only: its batch dimension is taken away and put back."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = images.squeeze(0)
        return self.head((x * x.mean()).mean(-1).reshape(-1)).unsqueeze(0)  # type: ignore[no-any-return]


NETS: dict[str, Callable[[], nn.Module]] = {"transformer": Transformer, "chunks": Chunks, "pooled": Pooled}


def net(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name]().eval()


def export(module: nn.Module, *, batch: int = 0, opset: int = 17) -> onnx.ModelProto:
    """For any number of images, or for `batch` alone."""
    file = io.BytesIO()
    axes = None if batch else {"x": {0: "n"}, "y": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, on itself and on sizes that it takes for constants
        torch.onnx.export(
            module,
            (torch.rand(batch or 2, *SHAPE),),
            file,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=axes,
        )
    return onnx.load_model_from_string(file.getvalue())


@pytest.fixture(scope="module")
def images(pixels: Callable[..., NDArray[np.uint8]]) -> NDArray[np.float32]:
    return pixels(12, SHAPE).astype(np.float32) / 255


def check(
    model: onnx.ModelProto, images: NDArray[np.float32], expected: NDArray[np.float32], *, tolerance: float
) -> None:
    """Logits of all images, of two and of one; a gradient for every image, from bfloat16 convolutions too."""
    twin, scale = Twin(model).requires_grad_(False), np.abs(expected).max()
    assert twin.to_onnx().SerializeToString() == model.SerializeToString()
    for count in (len(images), 2, 1):
        with torch.no_grad():
            found = twin(torch.from_numpy(images[:count])).numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:count], rtol=0, atol=tolerance * scale)
    searched = [twin] if twin.quantizers else [twin, HalfPrecisionGradients(twin)]
    for model_of in searched:
        x = torch.from_numpy(images[:3]).requires_grad_()
        (gradient,) = torch.autograd.grad(model_of(x).square().sum(), x)
        assert gradient.isfinite().all()
        assert (gradient != 0).flatten(1).any(1).all()


@pytest.mark.parametrize("opset", [11, 14, 17])
@pytest.mark.parametrize("name", NETS)
def test_any_number_of_images(name: str, opset: int, images: NDArray[np.float32], run: Run) -> None:
    model = export(net(name), opset=opset)
    check(model, images, run(model, {"x": images})[0], tolerance=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", [*NETS, "squeezing"])
def test_a_fixed_number_of_images(name: str, batch: int, images: NDArray[np.float32], run: Run) -> None:
    if name == "squeezing" and batch == 2:
        pytest.skip("takes one image")
    torch.manual_seed(0)
    model = export(Squeezing().eval() if name == "squeezing" else net(name), batch=batch)
    expected = np.concatenate([run(model, {"x": images[i : i + batch]})[0] for i in range(0, len(images), batch)])
    check(model, images, expected, tolerance=1e-5)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [0, 1])
def test_half_precision(name: str, batch: int, images: NDArray[np.float32], run: Run) -> None:
    """ONNX Runtime computes most of it in float32 and rounds in between."""
    model = export(InType(net(name), torch.float16).eval(), batch=batch)
    step = batch or len(images)
    expected = np.concatenate([run(model, {"x": images[i : i + step]})[0] for i in range(0, len(images), step)])
    check(model, images, expected, tolerance=3e-3)


def test_a_head_in_double_precision(images: NDArray[np.float32], run: Run) -> None:
    """ONNX Runtime has no convolutions of doubles on the CPU."""
    module = net("chunks")
    module.head = InType(copy.deepcopy(module.head), torch.float64)
    model = export(module)
    check(model, images, run(model, {"x": images})[0], tolerance=1e-5)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: NDArray[np.float32]) -> None:
        self._batches = iter([{"x": images[i : i + 4]} for i in range(0, len(images), 4)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


@pytest.fixture
def quiet() -> Any:
    logging.disable(logging.WARNING)  # ONNX Runtime's quantizers recommend pre-processing
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(
    ("activations", "weights", "per_channel"),
    [
        (QuantType.QUInt8, QuantType.QInt8, True),
        (QuantType.QUInt8, QuantType.QUInt8, False),
        (QuantType.QInt8, QuantType.QInt8, False),
    ],
)
def test_qoperators_bit_for_bit(  # noqa: PLR0917
    name: str,
    activations: QuantType,
    weights: QuantType,
    per_channel: bool,
    images: NDArray[np.float32],
    run: Run,
    tmp_path: Path,
) -> None:
    onnx.save(export(net(name)), tmp_path / "float.onnx")
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        Reader(images),
        quant_format=QuantFormat.QOperator,
        activation_type=activations,
        weight_type=weights,
        per_channel=per_channel,
    )
    model = onnx.load(tmp_path / "int8.onnx")
    assert any(node.op_type == "QLinearConv" for node in model.graph.node)
    check(model, images, run(model, {"x": images}, optimize=True)[0], tolerance=0)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", NETS)
def test_dynamic_quantization(name: str, images: NDArray[np.float32], run: Run, tmp_path: Path) -> None:
    """Scales are those of a whole batch, so each number of images has logits of its own."""
    onnx.save(export(net(name)), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    model = onnx.load(tmp_path / "int8.onnx")
    assert any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node)
    for count in (1, 2, 12):
        (expected,) = run(model, {"x": images[:count]}, optimize=True)
        if count == 1:
            check(model, images[:1], expected, tolerance=0.02)
        with torch.no_grad():
            found = Twin(model)(torch.from_numpy(images[:count])).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * np.abs(expected).max())
        assert np.mean(np.abs(found - expected) < 1e-5) > 0.5
