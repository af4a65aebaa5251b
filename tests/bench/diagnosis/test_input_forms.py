from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.diagnosis.input_forms import AS_IT_IS, Form, answers, first_forms, further_forms
from hardtemper.runtime.engine import open_onnx

RNG = np.random.default_rng(0)


def flat(*, shape: tuple[int, int, int] = (3, 4, 4), dtype: int = TensorProto.FLOAT, batch: int | str = "N") -> bytes:
    """The input itself as logits."""
    size = int(np.prod(shape))
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["y"]),
    ]
    made = helper.make_graph(
        nodes,
        "flat",
        [helper.make_tensor_value_info("image", dtype, [batch, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, size])],
        [numpy_helper.from_array(np.float32(0), "unused")],
    )
    return bytes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


@pytest.fixture
def write(model_file: Callable[[bytes], Path]) -> Callable[..., Any]:
    return lambda **how: open_onnx(model_file(flat(**how)))


IMAGES = RNG.integers(0, 256, (5, 3, 4, 4)).astype(np.uint8)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("batch", ["N", 1, 3, 8])
def test_normalized_values_reach_the_graph(write: Callable[..., Any], batch: int | str) -> None:
    engine = write(batch=batch)
    form = Form(values="ImageNet's normalization", mean=MEAN, std=STD)
    mean, std = (np.array(numbers).reshape(1, 3, 1, 1) for numbers in (MEAN, STD))
    expected = ((IMAGES / 255 - mean) / std).reshape(5, -1)
    np.testing.assert_allclose(answers(engine, IMAGES, form), expected, rtol=1e-4, atol=1e-5)


def test_pixels_are_moved(write: Callable[..., Any]) -> None:
    engine = write(dtype=TensorProto.UINT8)
    forms = {form.words: answers(engine, IMAGES, form).reshape(IMAGES.shape) for form in first_forms(engine, IMAGES)}
    assert set(forms) == {"BGR instead of RGB", "height and width exchanged", "inverted pixels"}
    assert np.array_equal(forms["BGR instead of RGB"], IMAGES[:, ::-1])
    assert np.array_equal(forms["height and width exchanged"], IMAGES.swapaxes(2, 3))
    assert np.array_equal(forms["inverted pixels"], 255 - IMAGES)
    assert np.array_equal(answers(engine, IMAGES, AS_IT_IS), IMAGES.reshape(5, -1))


def test_what_fits_the_input_is_tried(write: Callable[..., Any]) -> None:
    colour = {form.words for form in first_forms(write(), IMAGES)}
    assert {"ImageNet's normalization", "ImageNet's normalization and BGR instead of RGB"} <= colour
    assert "MNIST's normalization" not in colour
    gray = {form.words for form in first_forms(write(shape=(1, 4, 6)), IMAGES[:, :1])}
    assert "MNIST's normalization" in gray
    assert {word for word in gray if "BGR" in word or "exchanged" in word} == set()
    black = {form.words for form in first_forms(write(), 0 * IMAGES)}
    assert colour - black == {word for word in colour if "own mean" in word} != set()


def test_each_is_tried_once_and_says_what_to_do(write: Callable[..., Any]) -> None:
    engine = write()
    forms = first_forms(engine, IMAGES)
    assert len({form.words for form in forms}) == len(forms)
    assert all(form.fix for form in forms)
    moved = Form(moves=("BGR instead of RGB",))
    assert [form.moves[1:] for form in further_forms(moved, engine)] == [
        ("height and width exchanged",),
        ("inverted pixels",),
    ]


def test_the_fix_is_what_was_tried(model_file: Callable[[bytes], Path], write: Callable[..., Any]) -> None:
    """The constants of the line, put in front of the network with ONNX's own operators."""
    engine = write()
    (form,) = (form for form in first_forms(engine, IMAGES) if form.words == "ImageNet's normalization")
    assert form.fix == "(x - mean) / std with mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225"
    made = onnx.load_from_string(flat())
    made.graph.node[0].input[0] = "divided"
    for name, numbers in (("mean", MEAN), ("std", STD)):
        made.graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.float32).reshape(1, 3, 1, 1), name))
    made.graph.node.insert(0, helper.make_node("Div", ["less", "std"], ["divided"]))
    made.graph.node.insert(0, helper.make_node("Sub", ["image", "mean"], ["less"]))
    session = ort.InferenceSession(made.SerializeToString())
    (expected,) = session.run(None, {"image": IMAGES.astype(np.float32) / 255})
    np.testing.assert_allclose(answers(engine, IMAGES, form), expected, rtol=1e-5)
