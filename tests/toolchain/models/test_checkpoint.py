"""Checkpoints in the forms that training scripts write, and damaged ones."""

from __future__ import annotations

import zipfile
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
    "old": {key: value for key, value in STATE.items() if not key.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_training_scripts_write(tmp_path: Path, form: str) -> None:
    path = tmp_path / "x.pth"
    torch.save(FORMS[form], path)
    module = make(2)
    load_weights(module, read_checkpoint(path), origin="x")
    tolerance = 1e-3 if form == "half" else 0
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, STATE[key], rtol=tolerance, atol=tolerance)


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file(STATE, path)
    module = make(2)
    load_weights(module, read_checkpoint(path), origin="x")
    assert all(torch.equal(value, STATE[key]) for key, value in module.state_dict().items())


def test_a_prefix_that_the_network_has_itself_stays() -> None:
    module = nn.Module()
    module.model = nn.Linear(2, 2)
    other = nn.Module()
    other.model = nn.Linear(2, 2)
    load_weights(module, other.state_dict(), origin="x")
    assert torch.equal(module.model.weight, other.model.weight)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("part", [0.0, 0.0005, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"x{suffix}"
    safetensors.torch.save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(ModelError, match=r"the checkpoint .*x") as caught:
        read_checkpoint(path)
    assert str(path) in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize("content", [b"not a checkpoint", b"\x80\x02", b"PK\x03\x04", b"\x00" * 100, b"{}" * 50])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_other_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="the checkpoint"):
        read_checkpoint(path)


def test_another_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelError, match="cannot be read"):
        read_checkpoint(path)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(make(1), path)
    with pytest.raises(ModelError, match=r"holds Python objects.*; fix: save the weights alone: torch.save"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ([1, 2], "list"),
        ({}, "an empty dictionary"),
        (torch.zeros(3), "Tensor"),
        ({"epoch": 3, "loss": 0.1, "lr": 0.1, "seed": 0}, "a dictionary with epoch, loss, lr, ..."),
    ],
)
def test_files_without_weights(tmp_path: Path, content: Any, got: str) -> None:
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match="holds no state dict; expected: a dictionary of tensors") as caught:
        read_checkpoint(path)
    assert caught.value.got == got


def test_a_missing_file(tmp_path: Path) -> None:
    for name in ("absent.pth", f"{'x' * 300}.pth"):
        with pytest.raises(ModelError, match=rf"{name} does not exist"):
            read_checkpoint(tmp_path / name)


def without(*keys: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in STATE.items() if key not in keys}


KEY = "classifier.3.bias"
BAD: dict[str, Any] = {
    "missing": (without(KEY, "features.0.weight"), "got: 2 missing keys: features.0.weight, classifier.3.bias; fix"),
    "unexpected": (STATE | {"extra": torch.zeros(1)}, "got: 1 unexpected keys: extra; fix"),
    "both": (
        {f"net.{key}": value for key, value in STATE.items()},
        r"got: 34 missing keys: features.0.weight, .*, \.\.\.; 40 unexpected keys: net.features.0.weight, ",
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
