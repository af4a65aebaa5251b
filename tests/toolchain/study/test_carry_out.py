"""A study from its name to its files; the stages themselves are tested in `test_study_stages.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.study import carry_out
from hardtemper.toolchain.study.study_stages import CellRun


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `run_study` is asked for; its runs are made up: accuracies of seed + 80 and seed + 40."""
    found: list[dict[str, Any]] = []

    def made_up(scaled: Any, *, cells: Any, seeds: Any, measures: Any, **rest: Any) -> list[CellRun]:
        found.append({"scaled": scaled, "cells": cells, "seeds": seeds, "measures": measures, **rest})
        return [
            CellRun(
                cell=cell,
                seed=seed,
                made={
                    "dense": {"cpu_seconds": 100.0},
                    "cpu_seconds": {"compress": 0.0, "finetune": 10.0},
                    "parameters": 10,
                    "MACs": 20,
                    "images": 64,
                    "dense_size_bits": 64,
                    "size_bits": {"network": 32, "masked": 32, "engine": 8},
                },
                measured={
                    (subject, measure.name): {
                        "clean": {"value": 80.0 + seed},
                        "robust": {"value": 40.0 + seed},
                        "KiB": 1.0,
                        "skipped": ["transfer"] if measure.attack == "standard" else [],
                    }
                    for subject in scaled.study.compressions[cell.compression].measured
                    for measure in measures
                },
                graphs={},
            )
            for cell in cells
            for seed in seeds
        ]

    monkeypatch.setattr(carry_out, "run_study", made_up)
    return found


def test_the_papers_values_beside_ours(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    result = carry_out.study("table3", out=tmp_path, scale=0.01)
    assert len(result.rows) == 12 + 6  # pruned networks as engines too
    stored = json.loads(result.files["json"].read_text())
    assert result.files["json"].parent == tmp_path / "table3-scale-0.01"
    assert stored["rows"] == list(result.rows)
    assert (stored["seeds"], stored["scale"], len(stored["runs"])) == ([0, 1, 2], 0.01, 36)
    first = result.rows[0]
    assert (first["model"], first["test_paper"], first["test_difference"]) == ("f_st^p", 33.21, 47.79)
    assert first["test_in_deviations"] == 12.07  # (81 - 33.21) / 3.96
    assert "`T_ad(f_rb^q)`" in result.text
    assert "Scale 0.01, seeds 0, 1, 2: 64 training images" in result.text
    (given,) = asked
    assert [(measure.attack, measure.images) for measure in given["measures"]] == [("pgd-20", 1000)]


def test_options_reach_the_run(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    result = carry_out.study(
        "table3",
        out=tmp_path,
        seeds=(4, 4, 5),
        only=("clean-quantized-*",),
        images=70,
        attack="standard",
        attack_images=30,
        changes={"data.name": "mnist", "model.width": 9},
    )
    (given,) = asked
    assert (given["seeds"], len(given["cells"])) == ((4, 5), 3)
    assert [(measure.attack, measure.images) for measure in given["measures"]] == [("pgd-20", 70), ("standard", 30)]
    assert given["scaled"].recipe(given["cells"][0], 4).model.width == 9
    assert result.files["json"].parent == tmp_path / "table3"
    assert "other data" in result.text
    assert "Left out of the attacks: transfer." in result.text
    assert {row["test_paper"] for row in result.rows} == {None}


def test_without_matplotlib_there_are_tables(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = carry_out.study("table2", out=tmp_path)
    assert set(result.files) == {"md", "csv", "json"}
    (note,) = result.notes
    assert note.startswith("no picture: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 2.0}, "at most 1"),
        ({"attack": "pgd-2O"}, "unknown attack"),
        ({"only": ("x",)}, "no cell 'x'"),
        ({"changes": {"model.widht": 3}}, "did you mean 'model.width'"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    asked: list[dict[str, Any]], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        carry_out.study("table3", out=tmp_path, **options)
    assert asked == []


def test_a_table_of_two_networks_says_which_and_how_large(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    result = carry_out.study("table5", out=tmp_path, scale=1e-6, seeds=(0,))
    assert "| WideResNet-50 | `T_ad(f_st^q)` | INT8 | engine |" in result.text
    assert "ViT model.depth 2" in result.text
    assert [row["network"] for row in result.rows] == 4 * ["WideResNet-50"] + 4 * ["ViT"]
    assert result.files["csv"].read_text().startswith("network,model,")
