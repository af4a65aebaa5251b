"""Graphs that are image classifiers in another form, or none: one right line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

from hardtemper.runtime.backends.image_classifier import (
    as_logits,
    channels_last,
    counted_classes,
    declared_classes,
    only_input,
    only_output,
    read_image_input,
)
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import ModelError


def save(path: Path, text: str) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3, 2, 2), np.uint8)

TAKEN = {
    "K, 1, 1": "(float[N,3,2,2] x) => (float[N,3,1,1] y) { y = GlobalAveragePool(x) }",
    "K, 1, 1, nothing declared": "(float[N,3,2,2] x) => (float y) { y = GlobalAveragePool(x) }",
    "1, 1, K": "(float[N,3,2,2] x) => (float[N,1,1,3] y) { t = GlobalAveragePool(x) y = Transpose<perm=[0,2,3,1]>(t) }",
    "K, 1": "(float[N,3,2,2] x) => (float[N,3,1] y) { t = GlobalAveragePool(x) "
    "a = Constant<value_ints=[3]>() y = Squeeze(t, a) }",
    "a fixed batch": "(float[3,3,2,2] x) => (float[3,3,1,1] y) { y = GlobalAveragePool(x) }",
    "a batch of one": "(float[1,3,2,2] x) => (float[1,3,1,1] y) { y = GlobalAveragePool(x) }",
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_axes_of_size_one_say_nothing(text: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", text)
    engine = open_onnx(path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    step = engine.backend.batch or len(IMAGES)
    floats = IMAGES.astype(np.float32) / np.float32(255)
    wanted = [session.run(None, {"x": floats[i : i + step]})[0] for i in range(0, len(IMAGES), step)]
    assert engine.labels == ("0", "1", "2")
    np.testing.assert_array_equal(engine(IMAGES), np.concatenate(wanted).reshape(3, 3))


REFUSED = {
    # name: (graph, what the line holds)
    "NHWC": (
        "(float[N,16,16,3] x) => (float[N,768] y) { y = Flatten(x) }",
        r"channels-last.*nchw.*perm=\[0, 2, 3, 1\]",
    ),
    "NHWC, gray": ("(float[N,28,28,1] x) => (float[N,784] y) { y = Flatten(x) }", "channels-last"),
    "NHWC, four channels": ("(float[N,28,20,4] x) => (float[N,K] y) { y = Flatten(x) }", "channels-last"),
    "NHWC, uint8": (
        "(uint8[1,8,8,3] x) => (float[1,192] y) { t = Cast<to=1>(x) y = Flatten(t) }",
        r"channels-last.*got: \[1, 8, 8, 3\]",
    ),
    "NHWC, open sides": ("(float[N,H,W,3] x) => (float[N,K] y) { y = Flatten(x) }", r"channels-last.*\[N, H, W, 3\]"),
    "NHWC, one open side": ("(float[N,H,16,3] x) => (float[N,K] y) { y = Flatten(x) }", "channels-last"),
    "NHWC, another type": (
        "(int64[N,16,16,3] x) => (float[N,768] y) { t = Cast<to=1>(x) y = Flatten(t) }",
        "channels-last",
    ),
    "all open": ("(float[N,C,H,W] x) => (float[N,K] y) { y = Flatten(x) }", "fixed C, H and W.*make_dynamic_shape"),
    "open sides": ("(float[N,3,H,W] x) => (float[N,K] y) { y = Flatten(x) }", "fixed C, H and W.*make_dynamic_shape"),
    "rows": ("(float[N,784] x) => (float[N,784] y) { y = Identity(x) }", r"got: \[N, 784\]; fix: it takes rows"),
    "no channel axis": ("(float[N,28,28] x) => (float[N,784] y) { y = Flatten(x) }", "without a channel or a batch"),
    "no batch axis": ("(float[3,16,16] x) => (float[3,256] y) { y = Flatten(x) }", "without a channel or a batch"),
    "videos": ("(float[N,3,8,16,16] x) => (float[N,K] y) { y = Flatten(x) }", "fix: export an image classifier"),
    "half precision": (
        "(float16[N,3,2,2] x) => (float16[N,12] y) { y = Flatten(x) }",
        r"tensor\(float16\); fix: export it with a float32 input",
    ),
    "one logit": (
        (
            "(float[N,3,2,2] x) => (float[N,1] y) { s = ReduceMean<axes=[1,2,3],"
            "keepdims=0>(x) b = Constant<value_ints=[1]>() t = Unsqueeze(s, b) y = Sigmoid(t) }"
        ),
        r"one logit.*sigmoid.*got: \[1, 1\]; fix: export two logits: torch.cat",
    ),
    "one logit, no axis": (
        "(float[N,3,2,2] x) => (float[N] y) { y = ReduceMean<axes=[1,2,3],keepdims=0>(x) }",
        r"one logit.*got: \[1\]; fix: export two logits",
    ),
    "one logit, a map": (
        "(float[N,3,2,2] x) => (float[N,1,1,1] y) { y = ReduceMean<axes=[1,2,3]>(x) }",
        r"one logit.*\[1, 1, 1, 1\]",
    ),
    "class numbers": (
        "(float[N,3,2,2] x) => (int64[N] y) { t = Flatten(x) y = ArgMax<axis=1,keepdims=0>(t) }",
        r"float logits.*got: y int64 \[N\]; fix: export the logits, without.*ArgMax",
    ),
    "decisions": (
        "(float[N,3,2,2] x) => (bool[N,12] y) { t = Flatten(x) y = Greater(t, t) }",
        "float logits.*got: y bool",
    ),
    "a sequence": (
        "(float[N,3,2,2] x) => (seq(float[N,12]) y) { t = Flatten(x) y = SequenceConstruct(t) }",
        r"output 'y'; expected: a tensor; got: a sequence",
    ),
    "class number and logits": (
        "(float[N,3,2,2] x) => (int64[N] label, float[N,12] y) { y = Flatten(x) label = ArgMax<axis=1,keepdims=0>(y) }",
        r"one output; got: label int64 \[N\], y float \[N, 12\]; fix: .*extract_model\(.*\['y'\]\)",
    ),
    "two rows of logits": (
        "(float[N,3,2,2] x) => (float[N,12] y, float[N,12] aux) { y = Flatten(x) aux = Flatten(x) }",
        r"one output.*extract_model\(.*\['LOGITS'\]\)",
    ),
    "a map": ("(float[N,3,2,2] x) => (float[N,3,2,2] y) { y = Relu(x) }", "expected: .1, K. logits.*not a map"),
    "no batch axis in the logits": (
        "(float[1,3,2,2] x) => (float[12] y) { a = Constant<value_ints=[-1]>() y = Reshape(x, a) }",
        r"expected: \[1, K\] logits; got: \[12\]; fix: keep the batch axis",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_one_right_line(text: str, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", text)
    with pytest.raises(ModelError, match=message) as caught:
        open_onnx(path)
    assert str(path) in caught.value.what
    assert len(str(caught.value).replace(str(path), "m.onnx")) <= 400
    assert "data" not in str(caught.value).replace(str(path), "")


def test_three_planes_of_three_columns_may_be_either(tmp_path: Path) -> None:
    text = "(float[N,3,8,3] x) => (float[N,72] y) { y = Flatten(x) }"
    assert open_onnx(save(tmp_path / "m.onnx", text)).input_shape == (3, 8, 3)


def node(name: str, kind: str, shape: Sequence[Any]) -> Any:
    return SimpleNamespace(name=name, type=kind, shape=list(shape))


def test_many_outputs_are_cut_short() -> None:
    nodes = [node(f"y{index}", "tensor(float)", ["N", 2, 2, 2]) for index in range(9)]
    with pytest.raises(ModelError, match=r"y3 float \[N, 2, 2, 2\], \.\.\.; fix"):
        only_output(nodes, origin="m")
    with pytest.raises(ModelError, match="expected: one input; got: none"):
        only_input([], origin="m")


def test_what_is_read_of_an_image() -> None:
    image = only_input([node("x", "tensor(uint8)", [4, 3, 8, 6])], origin="m")
    assert read_image_input(image, origin="m") == ("uint8", 4, (3, 8, 6))
    assert read_image_input(node("x", "tensor(float)", ["N", 1, 8, 6]), origin="m") == ("float32", None, (1, 8, 6))
    assert "[?, 8, 8, 3]" in str(channels_last("m", [None, 8, 8, 3]))


@pytest.mark.parametrize(
    ("shape", "classes"),
    [(["N", 5], 5), (["N", 5, 1, 1], 5), (["N", "K"], None), (["N", "K", 1], None), ([], None), (["N", 0], None)],
)
def test_declared_classes(shape: list[Any], classes: int | None) -> None:
    assert declared_classes(shape, origin="m") == classes


def test_more_classes_than_any_network_has() -> None:
    for count in (lambda shape: declared_classes(shape, origin="m"), lambda s: counted_classes(s, batch=1, origin="m")):
        with pytest.raises(ModelError, match=r"at most \d+ classes; got: 1073741824"):
            count((1, 2**30, 1))


def test_results_that_change_their_shape() -> None:
    logits = np.arange(6, dtype=np.float64).reshape(2, 1, 3)
    assert counted_classes(logits.shape, batch=2, origin="m") == 3
    np.testing.assert_array_equal(as_logits(logits, batch=2, classes=3, origin="m"), logits[:, 0])
    with pytest.raises(ModelError, match=r"expected: \[3, 2\] logits; got: \[2, 1, 3\]"):
        as_logits(logits, batch=3, classes=2, origin="m")
    with pytest.raises(ModelError, match=r"expected: \[2, K\] logits; got: \[2, 0\]"):
        counted_classes((2, 0), batch=2, origin="m")
