"""The trial of a twin: what fails only when it runs, or with several images, or says another thing than the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench import twin_trial
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.bench.twin_trial import logit_gap, try_twin, unlike
from hardtemper.runtime.engine import open_onnx

Weights = torch.nn.Linear(36, 3)


def fails(_: Any) -> Any:
    raise RuntimeError("size mismatch\nmore")


def fails_on_several(x: Any) -> Any:
    return Weights(x.reshape(1, 36))


def one_answer_for_all(x: Any) -> Any:
    return Weights(x.flatten(1)).mean(0, keepdim=True)


def normalizes_over_the_batch(x: Any) -> Any:
    return Weights(x.flatten(1) - x.flatten(1).mean(0))


@pytest.mark.parametrize(
    ("twin", "reason"),
    [
        (fails, "RuntimeError: size mismatch"),
        (lambda x: torch.zeros(1, 3), "its logits are cut off from the image, so there is no gradient to follow"),
        (lambda x: x.flatten(1), "it gives [1, 36] where the engine gives [1, 3]"),
        (fails_on_several, "RuntimeError: shape '[1, 36]' is invalid for input of size 144"),
        (one_answer_for_all, "it gives [1, 3] of 4 images at once, not [4, 3]"),
        (normalizes_over_the_batch, "its logits of an image depend on the images beside it"),
    ],
)
def test_a_twin_that_cannot_be_attacked_is_no_twin(
    *,
    data: Dataset,
    three_classes: Any,
    monkeypatch: pytest.MonkeyPatch,
    twin: Any,
    reason: str,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
) -> None:
    monkeypatch.setattr(twin_trial, "Twin", lambda _: twin)
    (subject,) = run_bench(model_file(three_classes.onnx()), data, settings(batches=(1,))).subjects
    assert subject.skipped[0].reason == f"no twin: {reason}"
    assert "no white-box attack" in subject.alarms


def graph(*nodes: Any, constants: dict[str, Any]) -> onnx.ModelProto:
    """image [N, 1, 6, 6] -> Flatten "flat" -> nodes -> logits [N, 3]."""
    made = helper.make_graph(
        [helper.make_node("Flatten", ["image"], ["flat"]), *nodes],
        "trial",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_graph_that_compares_images_with_each_other_has_no_twin(model_file: Callable[[bytes], Path]) -> None:
    """The mean over the batch, as batch normalization in training mode has it."""
    weights = np.random.default_rng(0).normal(size=(36, 3)).astype(np.float32)
    model = graph(
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["flat", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "w"], ["logits"]),
        constants={"w": weights},
    )
    twin, reason, _ = try_twin(model, open_onnx(model_file(model.SerializeToString())))
    assert twin is None
    assert reason == "no twin: its logits of an image depend on the images beside it"


def test_a_sound_twin_says_nothing(three_classes: Any, model_file: Callable[[bytes], Path]) -> None:
    content = three_classes.onnx(dtype="float32")
    twin, reason, differs = try_twin(onnx.load_from_string(content), open_onnx(model_file(content)))
    assert twin is not None
    assert (reason, differs) == ("", "")


def test_a_twin_of_another_network_is_told(three_classes: Any, model_file: Callable[[bytes], Path]) -> None:
    engine = open_onnx(model_file(three_classes.onnx()))
    twin, reason, differs = try_twin(onnx.load_from_string(three_classes.onnx(shift=5.0)), engine)
    assert (twin is None, reason) == (False, "")
    assert differs.startswith("twin and engine differ on 4 of 4 trial images (black, white, noise), by up to ")


LOGITS = np.array([[0.0, 10.0, 4.0], [6.0, 0.0, -4.0], [1.0, 2.0, 11.0]], np.float32)


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        ({}, []),
        ({(0, 1): 9.2}, []),
        ({(0, 1): 8.9}, [0]),
        ({(0, 1): np.nan}, [0]),
        ({(1, 2): -np.inf}, [1]),
        ({(2, 0): 2.5, (1, 0): 6.5}, [2]),
    ],
)
def test_a_tenth_of_the_span_is_the_limit(change: dict[tuple[int, int], float], differ: list[int]) -> None:
    other = LOGITS.copy()
    for place, value in change.items():
        other[place] = value
    assert np.flatnonzero(unlike(LOGITS, other)).tolist() == differ
    assert np.flatnonzero(logit_gap(LOGITS, other) > 1).tolist() == differ


def test_another_class_is_a_difference_however_close() -> None:
    tie = np.array([[1.0, 1.001, -9.0]], np.float32)
    assert unlike(tie, tie[:, [1, 0, 2]]).tolist() == [True]
    assert (logit_gap(tie, tie[:, [1, 0, 2]]) < 1).all()


@pytest.mark.parametrize("constant", [0.0, 1e6])
def test_rounding_of_logits_that_are_all_alike(constant: float) -> None:
    alike = np.full((2, 3), constant, np.float32)
    assert not unlike(alike, alike * np.float32(1 + 2e-7)).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_same_odd_number_is_no_difference(value: float) -> None:
    odd = np.full((2, 3), value, np.float32)
    assert not unlike(odd, odd.copy()).any()
