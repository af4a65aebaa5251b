"""The rows are recipes, and a small one is built, measured three times over, and not built again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.errors import GateError
from hardtemper.toolchain.studies import trained_zoo as module


@pytest.mark.parametrize("network", module.NETWORKS)
def test_each_row_is_a_robust_build_that_removes_nothing(network: str) -> None:
    found = module.recipe(network, 2, {"finetune_twin.images": 128})
    assert found.robust
    assert (found.name, found.seed, found.compress) == (f"{network}-2", 2, ())
    assert found.finetune.epochs >= 1
    assert found.finetune_twin.images == 128
    assert found.model.name.endswith(network)


def small(npz: Path) -> list[str]:
    """Arguments that make of the row resnet18 the eight-layer network on small images."""
    settings: dict[str, Any] = {
        "model.name": "cnn8",
        "model.width": 4,
        "data.name": str(npz),
        "data.heldout": 64,
        "data.calibration": 32,
        "train.epochs": 1,
        "train.batch_size": 32,
        "finetune.batch_size": 32,
        "finetune_twin.batch_size": 32,
        "finetune_twin.images": 64,
    }
    return ["--only", "resnet18", "--seeds", "0", "--images", "20", "--set"] + [
        f"{key}={json.dumps(value)}" for key, value in settings.items()
    ]


def test_a_finished_row_holds_the_three_networks_and_is_kept(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.json"
    arguments = [*small(npz), "--out", str(tmp_path), "--json", str(table)]
    module.main(arguments)
    (row,) = json.loads(table.read_text(encoding="utf-8"))["rows"]
    assert list(row["measured"]) == ["float", "INT8", "shipped"]
    assert row["proof"]["exact"] is True
    assert row["integer share"] == 1
    for figures in row["measured"].values():
        assert figures["PGD-20"]["n"] == 20
        low, high = figures["PGD-20"]["spread"]
        assert low <= figures["PGD-20"]["value"] <= high
        assert figures["PGD-20"]["value"] <= 100
    measured = row["measured"]
    assert measured["shipped"]["KiB"] < measured["float"]["KiB"]
    for figure, points in row["shipped - float, points"].items():
        assert points == measured["shipped"][figure]["value"] - measured["float"][figure]["value"]
    assert "resnet18, seed 0: clean / PGD-20 %: float" in capsys.readouterr().out

    def again(*_: Any) -> Any:
        raise AssertionError("built twice")

    monkeypatch.setattr(module, "row", again)
    module.main(arguments)
    assert json.loads(table.read_text(encoding="utf-8"))["rows"] == [row]


def test_a_row_that_failed_says_why_and_is_tried_again(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refused(*given: Any) -> Any:
        tried.append(given)
        raise GateError("twin and engine differ")

    monkeypatch.setattr(module, "row", refused)
    table = tmp_path / "table.json"
    for _ in range(2):
        module.main([*small(npz), "--out", str(tmp_path), "--json", str(table)])
    (row,) = json.loads(table.read_text(encoding="utf-8"))["rows"]
    assert row == {"commit": row["commit"], "network": "resnet18", "seed": 0, "failed": "twin and engine differ"}
    assert len(tried) == 2
