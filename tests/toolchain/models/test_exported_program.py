"""Networks from `.pt2` files: they compute, export again, and refuse to train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.cnn8 import CNN8
from hardtemper.toolchain.models.exported_program import load_exported

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning")  # torch 2.13's own


def save(module: nn.Module, path: Path) -> Path:
    batch = torch.export.Dim("batch", min=1)
    torch.export.save(torch.export.export(module, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},)), path)
    return path


@pytest.fixture(scope="module")
def model() -> CNN8:
    torch.manual_seed(0)
    return CNN8(2, hidden=3, image_size=8).eval()


def test_it_computes_the_same(tmp_path: Path, model: CNN8) -> None:
    exported = load_exported(save(model, tmp_path / "x.pt2"))
    images = torch.rand(5, 1, 8, 8, requires_grad=True)
    assert torch.equal(exported(images), model(images))
    exported(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_it_stays_in_evaluation_mode(tmp_path: Path, model: CNN8) -> None:
    exported = load_exported(save(model, tmp_path / "x.pt2"))
    wrapped = nn.Sequential(nn.Identity(), exported)
    assert wrapped.eval()[1].training is False
    with pytest.raises(ModelError, match=r"a .pt2 network cannot be trained.*; fix: give package.module:factory"):
        wrapped.train()


def test_it_exports_again(tmp_path: Path, model: CNN8) -> None:
    """Lowering begins with an export, and the name of a submodule has broken that before."""
    exported = load_exported(save(model, tmp_path / "x.pt2"))
    again = load_exported(save(nn.Sequential(nn.Identity(), exported).eval(), tmp_path / "y.pt2"))
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(again(images), model(images))
    torch.export.export(exported, (images,)).run_decompositions({})


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(1), nn.Dropout(0.5)])
def test_training_mode_is_found(tmp_path: Path, layer: nn.Module) -> None:
    module = nn.Sequential(layer, nn.Flatten(), nn.Linear(64, 2))
    path = save(module.train(), tmp_path / "x.pt2")
    with pytest.raises(ModelError, match=r"exported in training mode; .*; got: .*; fix: call model.eval\(\) before"):
        load_exported(path)
    load_exported(save(module.eval(), path))


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.99])
def test_damaged_files(tmp_path: Path, model: CNN8, part: float) -> None:
    path = save(model, tmp_path / "x.pt2")
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(ModelError, match=r"x.pt2 cannot be read; expected: a file that torch.export.save wrote"):
        load_exported(path)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_exported(tmp_path / "absent.pt2")
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt2")
    with pytest.raises(ModelError, match="cannot be read"):
        load_exported(tmp_path / "x.pt2")
