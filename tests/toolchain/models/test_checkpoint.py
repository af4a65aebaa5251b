"""Weights in the forms in which training scripts write them, and those of another network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.checkpoint import load_weights, read_checkpoint
from hardtemper.toolchain.models.cnn8 import CNN8


def make(seed: int, width: int = 2) -> CNN8:
    torch.manual_seed(seed)
    return CNN8(width, hidden=3, image_size=8)


STATE = make(1).state_dict()
FORMS: dict[str, Any] = {
    "state dict": STATE,
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model_state_dict": {"model_state_dict": STATE, "optimizer": {"lr": 0.1}},
    "model": {"model": STATE},
    "net": {"net": {f"module.{key}": value for key, value in STATE.items()}, "acc": 93.0},
    "DataParallel": {f"module.{key}": value for key, value in STATE.items()},
    "normalized": {f"model.{key}": value for key, value in STATE.items()},
    "both": {f"module.model.{key}": value for key, value in STATE.items()},
    "compiled": {f"_orig_mod.{key}": value for key, value in STATE.items()},
    "compiled, DataParallel": {f"module._orig_mod.{key}": value for key, value in STATE.items()},
    "DataParallel, compiled": {f"_orig_mod.module.{key}": value for key, value in STATE.items()},
    "half": {key: value.half() if value.is_floating_point() else value for key, value in STATE.items()},
    "AveragedModel": {"n_averaged": torch.tensor(3), **{f"module.{key}": value for key, value in STATE.items()}},
    "Lightning": {
        "state_dict": {f"model.{key}": value for key, value in STATE.items()} | {"loss.weight": torch.ones(10)},
        "hyper_parameters": {"lr": 0.1},
    },
    "a prefix of the user's": {f"net.backbone.{key}": value for key, value in STATE.items()},
    "old": {key: value for key, value in STATE.items() if not key.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_training_scripts_write(tmp_path: Path, form: str) -> None:
    path = tmp_path / "x.pth"
    torch.save(FORMS[form], path)
    module = make(2)
    load_weights(module, read_checkpoint(path).tensors, origin="x")
    tolerance = 1e-3 if form == "half" else 0
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, STATE[key], rtol=tolerance, atol=tolerance)


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file(STATE, path)
    module = make(2)
    load_weights(module, read_checkpoint(path).tensors, origin="x")
    assert all(torch.equal(value, STATE[key]) for key, value in module.state_dict().items())


def test_what_was_not_copied_plainly_is_said() -> None:
    assert load_weights(make(2), STATE, origin="x") == ""
    half = {key: value.half() if value.is_floating_point() else value for key, value in STATE.items()}
    assert load_weights(make(2), half, origin="x") == "34 tensors of float16 converted to the network's types"
    wrapped = {"n_averaged": torch.tensor(3), **{f"module.{key}": value for key, value in half.items()}}
    assert load_weights(make(2), wrapped, origin="x") == (
        "keys behind 'module.', 1 others left out: n_averaged; 34 tensors of float16 converted to the network's types"
    )


def test_a_prefix_that_the_network_has_itself_stays() -> None:
    module = nn.Module()
    module.model = nn.Linear(2, 2)
    other = nn.Module()
    other.model = nn.Linear(2, 2)
    load_weights(module, other.state_dict(), origin="x")
    assert torch.equal(module.model.weight, other.model.weight)


def test_a_whole_network_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for content in (make(1), {"model": make(1), "epoch": 3}):
        torch.save(content, path)
        with pytest.raises(ModelError, match=r"holds no state dict.*; fix: save the weights alone:") as caught:
            read_checkpoint(path)
        assert "hardtemper.toolchain.models.cnn8.CNN8" in caught.value.got


OTHER = make(3).state_dict()
CHOICES: dict[str, tuple[Any, str]] = {
    "a state dict": (STATE, ""),
    "its tensors": (STATE | {"epoch": 3}, "its tensors, not epoch"),
    "one key": ({"state_dict": STATE}, ""),
    "among others": (
        {"epoch": 3, "state_dict": STATE, "optimizer": {"state": {}}},
        "the weights under 'state_dict', not epoch, optimizer",
    ),
    "an average beside it": (
        {"state_dict_ema": OTHER, "state_dict": STATE},
        "the weights under 'state_dict', not state_dict_ema",
    ),
    "BasicSR's": ({"params_ema": OTHER, "params": STATE}, "the weights under 'params', not params_ema"),
    "torchvision's": (
        {"model_ema": OTHER, "model": STATE, "args": argparse.Namespace(lr=0.1), "epoch": 3},
        "the weights under 'model', not model_ema, args (argparse.Namespace), epoch",
    ),
    "an average alone": ({"model_ema": STATE, "epoch": 3}, "the weights under 'model_ema', not epoch"),
    "two levels": ({"model": {"state_dict": STATE, "name": "x"}}, "the weights under 'model.state_dict', not name"),
    "a name of the user's": ({"weights_of_mine": STATE, "epoch": 3}, "the weights under 'weights_of_mine', not epoch"),
    "an object of that name": (
        {"model": argparse.Namespace(), "state_dict": STATE},
        "the weights under 'state_dict', not model (argparse.Namespace)",
    ),
    "odd keys": ({3: "x", (1, 2): "y", "net": STATE}, "the weights under 'net', not a key of type int, a key of type"),
    "escape sequences": ({"\x1b[2J": 1, "net": STATE}, "the weights under 'net', not \\x1b[2J"),
}


@pytest.mark.parametrize("case", CHOICES.values(), ids=CHOICES)
def test_what_was_chosen_is_said(tmp_path: Path, case: tuple[Any, str]) -> None:
    content, words = case
    path = tmp_path / "x.pth"
    torch.save(content, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.words.startswith(words)
    assert bool(checkpoint.words) == bool(words)
    assert list(checkpoint.tensors) == list(STATE)
    assert all(torch.equal(checkpoint.tensors[key], value) for key, value in STATE.items())


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ([1, 2], "list"),
        ({}, "an empty dictionary"),
        (torch.zeros(3), "Tensor"),
        ({"epoch": 3, "loss": 0.1, "lr": 0.1, "seed": 0}, "a dictionary with epoch, loss, lr, ..."),
        ({"generator": STATE, "critic": STATE}, "a dictionary with generator, critic"),
        ({"model": {"model": {"model": {"model": {"model": {"model": STATE}}}}}}, "a dictionary with model"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: Any, got: str) -> None:
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match="holds no state dict; expected: a dictionary of tensors") as caught:
        read_checkpoint(path)
    assert caught.value.got == got


def without(*keys: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in STATE.items() if key not in keys}


KEY = "classifier.3.bias"
BAD: dict[str, Any] = {
    "missing": (without(KEY, "features.0.weight"), "got: 2 missing keys: features.0.weight, classifier.3.bias; fix"),
    "unexpected": (STATE | {"extra": torch.zeros(1)}, "got: 1 unexpected keys: extra; fix"),
    "both": (
        {f"net.{key}": value for key, value in STATE.items() if key != KEY},
        r"got: 34 missing keys: features.0.weight, .*, \.\.\.; 39 unexpected keys: net.features.0.weight, ",
    ),
    "twice": (
        {f"{name}.{key}": value for key, value in STATE.items() for name in ("student", "teacher")},
        r"the weights of x hold the network 2 times; .*; got: student\., teacher\.; fix: save the weights of one",
    ),
    "shape": (STATE | {KEY: torch.zeros(7)}, r"1 tensors of x have another shape; .*bias \[10\]; got: .*bias \[7\]"),
    "width": (
        make(1, 4).state_dict(),
        r"tensors of x have another shape; expected: features.0.weight \[2, 1, 3, 3\], ",
    ),
    "sparse": (STATE | {KEY: torch.ones(10).to_sparse()}, rf"no plain numbers; .*; got: {KEY} \(sparse_coo\)"),
    "meta": (STATE | {KEY: torch.zeros(10, device="meta")}, rf"no plain numbers; .*; got: {KEY} \(meta\)"),
    "complex": (STATE | {KEY: torch.zeros(10).to(torch.complex64)}, rf"no plain numbers; .*; got: {KEY} \(complex64\)"),
    "8-bit floats": (STATE | {KEY: torch.zeros(10).to(torch.float8_e4m3fn)}, rf"got: {KEY} \(float8_e4m3fn\)"),
    "all on meta": (
        {key: value.to("meta") for key, value in STATE.items()},
        r"40 tensors of x are no plain numbers; .*; got: features.0.weight \(meta\), .*, \.\.\.; fix",
    ),
    "not finite": (STATE | {KEY: torch.full((10,), torch.nan)}, f"1 tensors of x are not finite; got: {KEY}"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_weights_of_another_network_change_nothing(case: tuple[dict[str, torch.Tensor], str]) -> None:
    state, message = case
    module = make(2)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(ModelError, match=message):
        load_weights(module, state, origin="x")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantized_weights_are_refused() -> None:
    state = STATE | {KEY: torch.quantize_per_tensor(torch.zeros(10), 1.0, 0, torch.qint8)}
    with pytest.raises(ModelError, match=rf"1 tensors of x are no plain numbers; .*; got: {KEY} \(qint8\); fix: save"):
        load_weights(make(2), state, origin="x")
