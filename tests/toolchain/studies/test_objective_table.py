"""The rows of the table of objectives are recipes, and the table is made of what was stored."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hardtemper.toolchain.studies import objective_table as module

DISTILLING = ("ARD", "RSLAD", "AdaAD")


@pytest.mark.parametrize("name", module.ROWS)
def test_each_row_is_the_recipe_with_its_own_settings(name: str, tmp_path: Path) -> None:
    found = module.recipe(name, 2, tmp_path, tmp_path / "teacher.onnx")
    assert found.robust
    assert found.seed == 2
    assert found.model.checkpoint == tmp_path / "dense-2.safetensors"
    assert (found.opponent is not None and found.opponent.distils) == (name in DISTILLING)
    if "EMA" not in name:
        assert found.finetune.average == "none"


def test_rows_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = {module.folder(tmp_path, name, seed) for name in module.ROWS for seed in (0, 1)}
    assert len(folders) == 2 * len(module.ROWS)


@pytest.mark.parametrize("name", DISTILLING)
def test_a_distillation_needs_a_teacher(name: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"{name} needs --teacher"):
        module.recipe(name, 0, tmp_path, None)


def test_attack_measures_each_engine_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module.folder(tmp_path, "MART", 0).mkdir()
    asked: list[Any] = []

    def measured(bundle: Path, *, json_path: Path, **settings: Any) -> None:
        asked.append((bundle.name, settings["attack"], settings["images"], settings["dense"]))
        json_path.write_text("{}")

    monkeypatch.setattr(module, "bench", measured)
    arguments = ["objective_table", "attack", "--out", str(tmp_path), "--seeds", "0", "1", "--images", "500"]
    monkeypatch.setattr(sys, "argv", arguments)
    module.main()
    module.main()
    assert asked == [("mart-0", "paper", None, False), ("mart-0", "standard", 500, False)]
    assert "mart-0.standard.500.json" in capsys.readouterr().out


def bundle(robust: float) -> Any:
    epochs = [{"seconds": 2.0, "robust": robust}, {"seconds": 3.0, "robust": robust / 2}]
    return SimpleNamespace(manifest=SimpleNamespace(proofs={"training": {"hardened": {"epochs": epochs, "kept": 1}}}))


def report(clean: float, attack: str, value: float, n: int) -> str:
    rows = [
        {"name": "clean-accuracy", "value": clean, "settings": {}, "n": n},
        {"name": "robust-accuracy", "value": value, "settings": {"attack": attack}, "n": n},
        {"name": "alarm", "value": 3.0, "settings": {"alarm": "flat loss"}, "n": n},
    ]
    return json.dumps({"subjects": [{"measurements": rows}]})


def test_the_table_is_made_of_what_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, clean in ((0, 86.0), (1, 88.0)):
        folder = module.folder(tmp_path, "TRADES", seed)
        folder.mkdir()
        (tmp_path / f"{folder.name}.paper.all.json").write_text(report(clean, "pgd-20", 77.0, 10000))
        (tmp_path / f"{folder.name}.standard.500.json").write_text(report(clean, "union", 75.0 + seed, 500))
    monkeypatch.setattr(module, "read_bundle", lambda path, check: bundle(0.8))
    stored = tmp_path / "table.json"
    arguments = ["objective_table", "table", "--out", str(tmp_path), "--seeds", "0", "1", "--json", str(stored)]
    monkeypatch.setattr(sys, "argv", arguments)
    module.main()
    (name, row), *others = json.loads(stored.read_text())["rows"].items()
    assert (name, others) == ("TRADES", [])
    assert row["mean"]["clean"] == 87.0
    assert row["mean"]["PGD-20"] == 77.0
    assert row["mean"]["standard, n 500"] == 75.5
    assert row["mean"]["held-out, PGD-10"] == 80.0
    assert row["mean"]["seconds"] == 5.0
    assert row["deviation"]["clean"] == pytest.approx(2**0.5)
    assert row["mean"]["alarm flat loss"] == 3.0
    assert "TRADES" in capsys.readouterr().out
