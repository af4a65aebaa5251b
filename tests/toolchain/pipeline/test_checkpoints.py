"""Checkpoints: replaced whole, passed over where they do not fit, damaged or not there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import nn

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.data.load import load_dataset
from hardtemper.runtime.errors import BundleError
from hardtemper.toolchain.pipeline.checkpoints import STAGES, StageCheckpoints, Workspace, fingerprints
from hardtemper.toolchain.recipe.read import with_overrides

CHECKPOINT = {"module": {"w": torch.arange(4.0)}, "epochs": [{"number": 1, "loss": 0.5}], "best": None}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "a" / "b.work")
    assert work.load("dense", "f") is None
    work.save("dense", "f", CHECKPOINT)
    loaded = work.load("dense", "f")
    assert loaded is not None
    assert torch.equal(loaded["module"]["w"], torch.arange(4.0))
    assert loaded["epochs"] == CHECKPOINT["epochs"]
    assert work.load("dense", "another") is None
    assert work.load("finetune", "f") is None
    assert [path.name for path in work.folder.iterdir()] == ["dense.pt"]
    work.remove()
    assert not work.folder.exists()
    work.remove()


def test_only_checkpoints_are_removed(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "thesis.work")
    for stage in ALL:
        work.save(stage, "f", CHECKPOINT)
    (work.folder / "twin.pt.123.tmp").write_bytes(b"of a killed build")
    for name in ("thesis.txt", "dense.pth"):
        (work.folder / name).write_text("precious")
    work.remove()
    assert sorted(path.name for path in work.folder.iterdir()) == ["dense.pth", "thesis.txt"]


def test_the_last_one_counts(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    for number in (1, 2, 3):
        work.save("dense", "f", {"number": number})
    assert work.load("dense", "f") == {"number": 3}


@hypothesis_settings(max_examples=30)
@given(st.data())
def test_a_damaged_checkpoint_is_none(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    work = Workspace(tmp_path_factory.mktemp("work"))
    work.save("dense", "f", CHECKPOINT)
    path = work.folder / "dense.pt"
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    assert work.load("dense", "f") is None


def test_a_file_of_something_else_is_none(tmp_path: Path) -> None:
    torch.save({"fingerprint": "f", "checkpoint": {}}, tmp_path / "dense.pt")
    assert Workspace(tmp_path).load("train", "f") is None


def test_a_failed_write_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Workspace(tmp_path)
    work.save("dense", "f", {"number": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BundleError, match=r"cannot write checkpoints; got: No space left on device; fix: "):
        work.save("dense", "f", {"number": 2})
    assert work.load("dense", "f") == {"number": 1}


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match=r"file/x\.work: cannot write checkpoints; got: Not a directory"):
        Workspace(tmp_path / "file" / "x.work").make()


@pytest.fixture
def data(npz: Path) -> Dataset:
    return load_dataset(str(npz), heldout=64, calibration=32)


def changed(data: Dataset, part: str, field: str) -> Dataset:
    """One value of one part is another."""
    old = getattr(data, part)
    array = getattr(old, field).copy()
    array.flat[7] ^= 1
    return dataclasses.replace(data, **{part: dataclasses.replace(old, **{field: array})})


ALL = {"dense", "teacher", "finetune", "twin"}
GRAPH = onnx.ModelProto()


@pytest.mark.parametrize(
    ("part", "field", "touched"),
    [
        ("train", "images", ALL),
        ("train", "labels", ALL),
        ("heldout", "images", ALL),
        ("heldout", "labels", ALL),
        ("calibration", "images", {"twin"}),
        ("test", "images", set()),
        ("test", "labels", set()),
    ],
)
def test_fingerprints_see_every_image_but_the_tests(data: Dataset, part: str, field: str, touched: set[str]) -> None:
    recipe, module = with_overrides({}, {}), nn.Linear(2, 2)
    before = fingerprints(recipe, data, module, GRAPH)
    after = fingerprints(recipe, changed(data, part, field), module, GRAPH)
    assert {stage for stage in before if before[stage] != after[stage]} == touched


@pytest.mark.parametrize(
    ("key", "value", "touched"),
    [
        ("name", "other", set()),
        ("seed", 1, ALL),
        ("data.heldout", 65, ALL),
        ("model.width", 5, ALL),
        ("train.epochs", 3, ALL),
        ("train.precision", "bfloat16", ALL),
        ("robust", True, {"finetune", "twin"}),
        ("compress.filters.sparsity", 0.25, {"finetune", "twin"}),
        ("adversary.steps", 3, {"teacher", "finetune", "twin"}),
        ("adversary.objective", "trades", {"finetune", "twin"}),
        ("adversary.random_start", False, {"teacher", "finetune", "twin"}),
        ("teacher.epochs", 3, {"teacher"}),
        ("finetune.momentum", 0.5, {"finetune", "twin"}),
        ("finetune.against", "clean", {"finetune", "twin"}),
        ("train.against", "adversary", ALL),
        ("quantize.scales", "free", {"twin"}),
        ("quantize.observer", "minmax", {"twin"}),
        ("quantize.integer_share", 0.5, set()),
        ("finetune_twin.epochs", 2, {"twin"}),
    ],
)
def test_fingerprints_see_what_a_stage_depends_on(data: Dataset, key: str, value: Any, touched: set[str]) -> None:
    module = nn.Linear(2, 2)
    before = fingerprints(with_overrides({"train": {"precision": "float32"}}, {}), data, module, GRAPH)
    after = fingerprints(with_overrides({"train": {"precision": "float32"}}, {key: value}), data, module, GRAPH)
    assert {stage for stage in before if before[stage] != after[stage]} == touched
    assert all(len(mark) == 64 for mark in after.values())


def test_a_student_depends_on_the_teacher_that_is_trained_for_it(data: Dataset) -> None:
    distilling = {"robust": True, "adversary": {"objective": "rslad"}}
    module = nn.Linear(2, 2)
    before = fingerprints(with_overrides(distilling, {}), data, module, GRAPH)
    after = fingerprints(with_overrides(distilling, {"teacher.epochs": 3}), data, module, GRAPH)
    assert {stage for stage in before if before[stage] != after[stage]} == {"teacher", "finetune", "twin"}
    other = fingerprints(with_overrides(distilling, {"adversary.objective": "adaad"}), data, module, GRAPH)
    assert {stage for stage in before if before[stage] != other[stage]} == {"finetune", "twin"}


def test_fingerprints_see_what_forward_does(data: Dataset) -> None:
    recipe, module = with_overrides({}, {}), nn.Linear(2, 2)
    before = fingerprints(recipe, data, module, GRAPH)
    after = fingerprints(recipe, data, module, onnx.ModelProto(producer_name="another"))
    assert {stage for stage in before if before[stage] != after[stage]} == ALL


def test_a_student_depends_on_the_teacher_that_was_read(data: Dataset) -> None:
    recipe = with_overrides({"robust": True, "adversary": {"objective": "rslad", "teacher": "any"}}, {})
    module = nn.Linear(2, 2)
    first, second, third = (fingerprints(recipe, data, module, GRAPH, teacher=digest) for digest in ("1", "2", "1"))
    assert first == third
    assert {stage for stage in first if first[stage] != second[stage]} == {"finetune", "twin"}


def test_a_stage_goes_on_from_what_it_saved(tmp_path: Path) -> None:
    work, marks = Workspace(tmp_path), dict.fromkeys(STAGES, "f")
    first = StageCheckpoints(work, marks)
    assert first.load("fine-tune") is None
    first.save("fine-tune", {"number": 1})
    assert first.load("fine-tune") == {"number": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["finetune.pt"]
    assert StageCheckpoints(work, {**marks, "finetune": "g"}).load("fine-tune") is None
    assert [first.load(stage) for stage in ("train", "teacher", "fine-tune twin")] == [None, None, None]


def test_stages_within_compression_steps_have_checkpoints_of_their_own(tmp_path: Path) -> None:
    work, marks = Workspace(tmp_path), dict.fromkeys(STAGES, "f")
    stages = StageCheckpoints(work, marks)
    stages.save("compress 1: round 1", {"number": 1})
    stages.save("compress 2: round 1", {"number": 2})
    assert stages.load("compress 1: round 1") == {"number": 1}
    assert stages.load("compress 2: round 1") == {"number": 2}
    assert stages.load("compress 1: hydra") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compress-1-round-1.pt", "compress-2-round-1.pt"]
    assert StageCheckpoints(work, {**marks, "finetune": "g"}).load("compress 1: round 1") is None
    work.remove()
    assert not tmp_path.exists()


def test_a_dense_network_trained_against_the_adversary_depends_on_it(data: Dataset) -> None:
    module, settings = nn.Linear(2, 2), {"robust": True, "train": {"against": "adversary"}}
    before = fingerprints(with_overrides(settings, {}), data, module, GRAPH)
    after = fingerprints(with_overrides(settings, {"adversary.steps": 3}), data, module, GRAPH)
    assert all(before[stage] != after[stage] for stage in STAGES)


def test_what_a_gpu_wrote_can_be_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    work = Workspace(tmp_path)
    with monkeypatch.context() as patch:  # torch.save notes where a tensor lies
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        work.save("dense", "on a gpu", CHECKPOINT)
    assert b"cuda:0" in (tmp_path / "dense.pt").read_bytes()
    assert work.load("dense", "on a cpu") is None
    loaded = work.load("dense", "on a gpu")
    assert loaded is not None
    assert loaded["module"]["w"].device.type == "cpu"


def test_fingerprints_see_the_network(data: Dataset) -> None:
    """A checkpoint file, or the code of a factory, changes under the same name."""
    recipe = with_overrides({}, {})
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    first = fingerprints(recipe, data, module, GRAPH)
    assert fingerprints(recipe, data, module, GRAPH) == first
    with torch.no_grad():
        module[0].weight[0, 0] += 1
    second = fingerprints(recipe, data, module, GRAPH)
    module.append(nn.ReLU())
    third = fingerprints(recipe, data, module, GRAPH)
    assert len({marks[stage] for marks in (first, second, third) for stage in ALL}) == 3 * len(ALL)


def test_fingerprints_are_the_same_elsewhere(data: Dataset) -> None:
    recipe = with_overrides({}, {})
    again = dataclasses.replace(
        data, train=dataclasses.replace(data.train, images=np.asfortranarray(data.train.images))
    )
    module = nn.Conv2d(2, 2, 3)
    one = fingerprints(recipe, data, module, GRAPH)
    module.to(memory_format=torch.channels_last)
    assert fingerprints(recipe, again, module, GRAPH) == one
