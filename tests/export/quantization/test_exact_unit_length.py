"""Division by a row's own length: the function it stands for, and the same integers on every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from hardtemper.export.lower import lower
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.exact_unit_length import ExactUnitLength
from hardtemper.export.quantization.quantize import quantize
from hardtemper.export.twin.twin import Twin

STEP = 2.0**-7
LENGTHS = {
    "bare": "l = ReduceL2<keepdims=1>(x, axis) y = Div(x, l)",
    "clipped": "l = ReduceL2<keepdims=1>(x, axis) c = Clip(l, least) y = Div(x, c)",
    "expanded": "l = ReduceL2<keepdims=1>(x, axis) c = Clip(l, least) h = Shape(x) e = Expand(c, h) y = Div(x, e)",
}


def plain(build: Callable[..., onnx.ModelProto], width: int, zero: int, length: str = "expanded", **other: Any) -> Any:
    constants = {
        "s": np.float32(2.0**-4),
        "z": np.array(zero, np.uint8),
        "axis": np.array([-1]),
        "least": np.float32(1e-12),
        "step": np.float32(STEP),
        "middle": np.array(128, np.uint8),
        **other,
    }
    used = {key: value for key, value in constants.items() if key != "least" or length != "bare"}
    text = f"x = DequantizeLinear(q, s, z) {LENGTHS[length]} r = QuantizeLinear(y, step, middle)"
    kind = f"uint8[N,3,{width}]"
    return onnx.shape_inference.infer_shapes(build(text, inputs={"q": kind}, outputs={"r": kind}, constants=used))


def exact(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = ir.from_proto(model)
    assert ExactUnitLength()(changed).modified
    proto = ir.to_proto(changed)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def rows(width: int, zero: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    drawn = rng.normal(zero, rng.uniform(1, 100, (60, 3, 1)), (60, 3, width)).clip(0, 255)
    return np.concatenate([drawn, np.full((1, 3, width), zero), rng.choice([0, 255], (2, 3, width))]).astype(np.uint8)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("width", "zero"), [(24, 128), (32, 0), (600, 0), (3000, 128), (24, 77)])
def test_the_engine_gives_the_function(
    length: str, width: int, zero: int, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]
) -> None:
    """Within a step of the exact quotient; nine of ten as it rounds."""
    q = rows(width, zero)
    found = run(exact(plain(build, width, zero, length)), {"q": q})[0].astype(int)
    b = q.astype(np.float64) - zero
    lengths = np.sqrt((b**2).sum(-1, keepdims=True))
    wanted = np.clip(np.rint(b / np.where(lengths == 0, 1, lengths) / STEP) + 128, 0, 255).astype(int)
    assert (found[60] == 128).all()  # a row of zeros stays zero
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() < 0.1


def test_what_it_is_not_about(build: Callable[..., onnx.ModelProto]) -> None:
    for constants, reason in (
        ({"axis": np.array([1])}, "a length is exact along the last axis"),
        ({"least": np.float32(0.5)}, "it takes lengths below 0.5 for that, and a step is 0.0625"),
    ):
        step = ExactUnitLength()
        assert not step(ir.from_proto(plain(build, 24, 128, **constants))).modified
        assert [skip.reason for skip in step.skipped] == [reason]
    step = ExactUnitLength()
    other = plain(build, 24, 128)
    next(node for node in other.graph.node if node.op_type == "ReduceL2").op_type = "ReduceL1"
    assert not step(ir.from_proto(other)).modified
    assert not step.skipped


class Cosine(nn.Module):
    """Cosine attention over 16 patches, as in Swin V2."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.out = nn.Conv2d(1, 24, 4, 4), nn.Linear(24, 5)
        self.queries, self.keys = nn.Linear(24, 24), nn.Linear(24, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        queries, keys = F.normalize(self.queries(x), dim=-1), F.normalize(self.keys(x), dim=-1)
        return self.out(((queries @ keys.transpose(1, 2) * 5).softmax(-1) @ x).mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_cosine_attention_is_one_function(engine: str, tmp_path: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 1, 16, 16), np.uint8)
    torch.manual_seed(0)
    integer = quantize(lower(Cosine().eval(), input_shape=(1, 16, 16)), images)
    assert not {"ReduceL2", "Clip", "Expand"} & {node.op_type for node in integer.model.graph.node}
    twin = Twin(integer.model, shadow=integer.shadow)
    with torch.no_grad():
        wanted = twin(torch.from_numpy(images).float() / 255).numpy()
    if engine == "onnxruntime":
        assert check_parity(integer.model, images, twin=twin).exact
    else:
        pytest.importorskip("openvino")
        from hardtemper.runtime.engine import open_onnx

        path = tmp_path / "cosine.onnx"
        path.write_bytes(integer.model.SerializeToString())
        assert np.array_equal(open_onnx(path, backend="openvino")(images), wanted)
    found = torch.autograd.grad(twin(x := torch.rand(4, 1, 16, 16, requires_grad=True)).square().sum(), x)[0]
    assert found.abs().sum() > 0
