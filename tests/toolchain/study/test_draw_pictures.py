"""Pictures are found once, written under their names, and said to be missing where they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.study.cell_recipe import Scaled
from hardtemper.toolchain.study.draw_pictures import draw_pictures
from hardtemper.toolchain.study.pictures.features import FeaturePicture
from hardtemper.toolchain.study.pictures.study_picture import Finished
from hardtemper.toolchain.study.read_study import parse_study
from hardtemper.toolchain.study.study_stages import CellRun

PICTURE = {
    "kind": "features",
    "title": "Features",
    "label": "1",
    "attack": "pgd-20",
    "pairs": [["clean-pruned-none", "clean-pruned-clean"]],
}


@pytest.fixture
def scaled(tiny_settings: dict[str, Any]) -> Scaled:
    return Scaled(study=parse_study("tiny", tiny_settings | {"pictures": {"seen": PICTURE}}))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finished]:
    """What the picture was asked for; its panels are made up."""
    asked: list[Finished] = []

    def find(self: FeaturePicture, finished: Finished) -> dict[str, Any]:
        asked.append(finished)
        group = {"model": "f_st^p", "images": "clean", "places": [[0, 1], [2, 3]]}
        panel = {"layer": "input", "models": ["f_st^p", "b"], "alike": {"f_st^p": 0.25, "b": 0.5}, "groups": [group]}
        return {"images": 2, "panels": [{**panel, "layer": f"layer {n}"} for n in range(4)]}

    monkeypatch.setattr(FeaturePicture, "find", find)
    return asked


def runs(scaled: Scaled, name: str = "graph") -> list[CellRun]:
    graphs = {"network": Path(f"{name}.onnx")}
    cells = scaled.study.cells
    return [CellRun(cell=cell, seed=seed, made={}, measured={}, graphs=graphs) for cell in cells for seed in (2, 3)]


def test_found_once_and_written(scaled: Scaled, found: list[Finished], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "tiny"
    files, told = draw_pictures(scaled, runs(scaled), images=7, out=tmp_path, folder=folder)
    assert files == {f"seen.{form}": folder / f"seen.{form}" for form in ("json", "svg", "png")}
    assert all(path.exists() for path in files.values())
    assert "layer 0: `f_st^p` 0.25, `b` 0.50." in told
    (asked,) = found
    assert [(network.key, network.seed) for network in asked.networks] == [
        (key, seed) for key in ("clean-pruned-none", "clean-pruned-clean") for seed in (2, 3)
    ]
    assert asked.images == 7
    assert len(asked.data(2).test) == 64
    draw_pictures(scaled, runs(scaled), images=7, out=tmp_path, folder=folder)
    assert len(found) == 1
    draw_pictures(scaled, runs(scaled, "other"), images=7, out=tmp_path, folder=folder)
    assert len(found) == 2


def test_what_is_left_out_is_said(
    scaled: Scaled, found: list[Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [run for run in runs(scaled) if run.cell.key != "clean-pruned-clean"]
    files, told = draw_pictures(scaled, some, images=7, out=tmp_path, folder=tmp_path)
    assert (files, told, found) == ({}, ["No picture seen: without clean-pruned-clean."], [])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    files, told = draw_pictures(scaled, runs(scaled), images=7, out=tmp_path, folder=tmp_path)
    assert set(files) == {"seen.json"}
    assert told[-1].startswith("No picture seen: the figure of a study needs the package 'matplotlib'")
