from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hardtemper.export.lower import INPUT_SCALE, OPSET, FloatGraph, lower, lower_onnx, pixel_graph
from hardtemper.runtime.errors import ModelError

Build = Callable[..., onnx.ModelProto]
Run = Callable[..., Any]
Pixels = Callable[..., NDArray[np.uint8]]


def test_the_graph_is_the_module(residual: nn.Module, residual_graph: FloatGraph, pixels: Pixels, run: Run) -> None:
    images = pixels(5, (3, 12, 12)).astype(np.float32) / 255
    with torch.no_grad():
        wanted = residual(torch.from_numpy(images)).numpy()
    for count in (1, len(images)):
        found = run(residual_graph.model, {"image": images[:count]})[0]
        np.testing.assert_allclose(found, wanted[:count], rtol=1e-4, atol=1e-4)


def test_the_graph_is_clean(residual_graph: FloatGraph) -> None:
    graph = residual_graph.model.graph
    assert {node.op_type for node in graph.node} <= {
        "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "MaxPool", "Relu",
    }  # fmt: skip
    assert [value.name for value in graph.input] == ["image"]
    assert [value.name for value in graph.output] == ["logits"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 0
    assert residual_graph.input_shape == (3, 12, 12)
    assert not residual_graph.model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in graph.node)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("scale", [INPUT_SCALE, 1 / 255])
def test_the_pixel_graph_is_the_same_function(
    exact: bool, scale: float, residual_graph: FloatGraph, pixels: Pixels, run: Run
) -> None:
    images = pixels(5, (3, 12, 12))
    model = ir.to_proto(pixel_graph(residual_graph, scale=scale, exact=exact).model)
    operators = [node.op_type for node in model.graph.node]
    assert ("AveragePool" in operators) is not exact  # 3x3 windows: 1/9 is no power of two
    wanted = run(residual_graph.model, {"image": images.astype(np.float32) / 255})[0]
    np.testing.assert_allclose(run(model, {"image": images})[0], wanted, rtol=1e-3, atol=1e-4)


def test_the_module_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 4 * 4, 2))
    net[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    graph = lower(net, input_shape=(1, 6, 6))
    assert [module.training for module in net] == [True, False, True, True]
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert [node.op_type for node in graph.model.graph.node] == ["Conv", "Flatten", "Gemm"]


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


def test_a_module_that_cannot_be_traced(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match=r"Branching cannot be exported.*data-dependent"):
        lower(Branching(), input_shape=(1, 4, 4))
    assert capfd.readouterr() == ("", "")  # the exporter would print the whole graph


class Mixing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, -1)


@pytest.mark.parametrize("module", [Mixing(), nn.Conv2d(1, 2, 3)], ids=["mixes images", "gives maps"])
def test_results_that_are_no_logits(module: nn.Module) -> None:
    with pytest.raises(ModelError, match="logits"):
        lower(module, input_shape=(1, 4, 4))


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 20])
def test_onnx_files_of_others(opset: int, build: Build, run: Run) -> None:
    """Whoever wrote them, in whatever opset: batch norm unfolded, constants as nodes, initializers among the inputs."""
    rng = np.random.default_rng(0)
    constants = {name: rng.normal(size=4).astype(np.float32) for name in "gbm"} | {
        "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "v": rng.uniform(0.5, 1, 4).astype(np.float32),
    }
    axes = "<axes=[2,3], keepdims=0>(r)" if opset < 18 else "<keepdims=0>(r, axes)"
    model = build(
        "t = Conv<pads=[1,1,1,1]>(x, w) n = BatchNormalization(t, g, b, m, v) i = Identity(n)"
        f" k = Constant<value_float=2.0>() s = Mul(i, k) r = Relu(s) y = ReduceMean{axes}",
        inputs={"x": "float[N,3,8,8]"},
        outputs={"y": "float[N,4]"},
        constants=constants | ({} if opset < 18 else {"axes": np.array([2, 3])}),
        opset=opset if opset > 11 else 12,  # value_float came with 12
    )
    if opset == 11:
        model.opset_import[0].version = 11
        model.graph.node[3].CopyFrom(
            onnx.helper.make_node("Constant", [], ["k"], value=onnx.numpy_helper.from_array(np.float32(2.0)))
        )
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 3, 3, 3]))
    graph = lower_onnx(model)
    assert [node.op_type for node in graph.model.graph.node] == ["Conv", "Relu", "GlobalAveragePool", "Flatten"]
    assert graph.model.opset_import[0].version >= OPSET
    x = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(graph.model, {"x": x})[0], run(model, {"x": x})[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        ({"x": "float[N,3,8,8]", "z": "float[N,3,8,8]"}, "2 inputs"),
        ({"x": "float[N,8]"}, r"shape \[0, 8\]"),
        ({"x": "float[N,3,H,8]"}, r"shape \[0, 3, 0, 8\]"),
        ({"x": "uint8[N,3,8,8]"}, "1 inputs"),
    ],
)
def test_other_inputs_are_refused(inputs: dict[str, str], got: str, build: Build) -> None:
    kind, shape = inputs["x"].split("[")
    model = build("y = Identity(x)", inputs=inputs, outputs={"y": f"{kind}[{shape}"})
    with pytest.raises(ModelError, match=got):
        lower_onnx(model)


def test_what_a_pass_left_alone_reaches_the_result(build: Build) -> None:
    """A ReLU6 that a sum reads cannot end at 255 * 2^e; the caller is told which one, and why."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(3, 3, 1, 1)).astype(np.float32),
        "v": rng.normal(size=(3, 3, 1, 1)).astype(np.float32),
    }
    ends = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    text = "h = Conv(x, w) c = Clip(h, low, high) s = Add(c, x) t = Conv(s, v)"
    text += " p = ReduceMean<keepdims=1>(t, k) y = Flatten(p)"
    axes = {"k": np.array([1])}
    graph = lower_onnx(
        build(text, inputs={"x": "float[N,3,8,8]"}, outputs={"y": "float[N,64]"}, constants=weights | ends | axes)
    )
    assert [(skip.operator, skip.step, skip.reason) for skip in graph.skipped] == [
        ("ReduceMean", "CanonicalPools", "it is not over H and W")
    ]
    pixel = pixel_graph(graph, scale=INPUT_SCALE, exact=True)
    assert [(skip.result, skip.step, skip.reason) for skip in pixel.skipped] == [
        ("p", "CanonicalPools", "it is not over H and W"),
        ("h", "MergeConvs", "the convolution before it is read elsewhere too"),  # the pixels' factor 256/255
        ("c", "FoldClip", "Add reads it"),
    ]


class ConcatPool(nn.Module):
    """The mean and the maximum of each channel (fastai's AdaptiveConcatPool2d)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([nn.AdaptiveAvgPool2d(1)(x), nn.AdaptiveMaxPool2d(1)(x)], 1)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.inner, self.outer = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(torch.relu(x + self.inner(self.linear(x))))  # type: ignore[no-any-return]


def _behind_maps(*head: nn.Module) -> list[nn.Module]:
    return [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), *head]


HEADS: dict[str, tuple[list[nn.Module], str]] = {
    # layers, operators behind the pool (or all of them)
    "batch norm of features": (
        _behind_maps(nn.Flatten(), nn.BatchNorm1d(32), nn.Dropout(), nn.Identity(), nn.Linear(32, 5)),
        "Flatten Gemm",
    ),
    "two of them": (
        _behind_maps(nn.Flatten(), nn.BatchNorm1d(32), nn.BatchNorm1d(32, affine=False), nn.Linear(32, 5)),
        "Flatten Gemm",
    ),
    "fastai's head": (
        _behind_maps(
            ConcatPool(), nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.25), nn.Linear(16, 8, bias=False),
            nn.ReLU(inplace=True), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 5, bias=False),
        ),
        "GlobalAveragePool MaxPool Concat Flatten Gemm Relu Gemm",
    ),
    "behind a linear layer": (
        _behind_maps(nn.Flatten(), nn.Linear(32, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.BatchNorm1d(5)),
        "Flatten Gemm Relu Gemm",
    ),
    "between a mean and a ReLU": (
        _behind_maps(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5)),
        "GlobalAveragePool Conv Relu Flatten Gemm",
    ),
    "between a Flatten and a ReLU6": (
        _behind_maps(nn.Flatten(), nn.BatchNorm1d(32), nn.ReLU6(), nn.Linear(32, 5)),
        "Flatten Unsqueeze Conv Clip Flatten Gemm",
    ),
    "channels before a mean": (
        _behind_maps(nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        "GlobalAveragePool Flatten Gemm",
    ),
    "channels before a Flatten": (_behind_maps(nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 5)), "Flatten Gemm"),
    "channels before zero padding": (
        _behind_maps(nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)),
        "Conv Conv Relu Flatten Gemm",
    ),
    "a residual sum": (
        _behind_maps(nn.Flatten(), nn.Linear(32, 8), Residual(), nn.Linear(8, 5)), "Flatten Gemm Gemm Add Relu Gemm"
    ),
    "pixels": ([nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 5)], "Flatten Gemm"),
}  # fmt: skip


@pytest.mark.parametrize(("layers", "operators"), HEADS.values(), ids=HEADS)
def test_batch_norms_fold_into_linear_layers(
    layers: list[nn.Module], operators: str, pixels: Pixels, prepare: Callable[..., nn.Module], run: Run
) -> None:
    images = pixels(9, (3, 8, 8))
    for layer in nn.Sequential(*layers).modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and layer.affine:
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    module = prepare(nn.Sequential(*layers), images)
    floats = images.astype(np.float32) / 255
    with torch.no_grad():
        wanted = module(torch.from_numpy(floats)).numpy()
    graph = lower(module, input_shape=(3, 8, 8))
    found = [node.op_type for node in graph.model.graph.node]
    assert (found[3:] if found[0] == "Conv" else found) == operators.split()
    np.testing.assert_allclose(run(graph.model, {"image": floats})[0], wanted, rtol=1e-3, atol=1e-4)
    skipped = [(skip.step, skip.reason) for skip in graph.skipped]
    is_padded = operators.startswith("Conv Conv")
    assert skipped == ([("MergeConvs", "an offset cannot move behind its padding")] if is_padded else [])
    pixel = ir.to_proto(pixel_graph(graph, scale=INPUT_SCALE, exact=True).model)
    np.testing.assert_allclose(run(pixel, {"image": images})[0], wanted, rtol=1e-2, atol=1e-2)


def test_weights_that_no_file_holds_are_refused_in_one_line() -> None:
    with torch.device("meta"):  # numbers without memory
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2**20), nn.Linear(2**20, 512))
    with pytest.raises(ModelError) as caught:
        lower(network, input_shape=(3, 8, 8))
    assert str(caught.value) == (
        "Sequential does not fit into an ONNX file; expected: float32 weights of at most 1.9 GiB: protobuf's files end "
        "at 2; got: 2.8 GiB; fix: take a smaller network"
    )
