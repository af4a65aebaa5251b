"""The stages of a study: shared ones once, and what an interruption leaves is picked up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest

from hardtemper.export.twin.twin import Twin
from hardtemper.toolchain.study import study_stages
from hardtemper.toolchain.study.cell_recipe import Scaled
from hardtemper.toolchain.study.measure_cell import Measure
from hardtemper.toolchain.study.run_study import run_study
from hardtemper.toolchain.study.study_stages import CellRun

MEASURES = [Measure(attack="pgd-20", images=8)]


class Stop(Exception):  # noqa: N818 - ends a study where the test has seen enough
    pass


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each stage was carried out; a training that a checkpoint holds is no training."""
    found: Counter[str] = Counter()

    def counting(name: str, real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            found[name] += 1
            return real(*arguments, **named)

        return call

    for name in ("compress_dense", "finish", "measure_file"):
        monkeypatch.setattr(study_stages, name, counting(name, getattr(study_stages, name)))
    return found


def do(scaled: Scaled, out: Path, **options: Any) -> list[CellRun]:
    return run_study(scaled, **{"cells": scaled.study.cells, "seeds": (0,), "measures": MEASURES, "out": out} | options)


def accuracies(runs: list[CellRun]) -> list[Any]:
    return [
        (run.cell.key, run.seed, key, row["clean"]["value"], row["robust"]["value"])
        for run in runs
        for key, row in run.measured.items()
    ]


def test_shared_stages_run_once_and_a_killed_study_gives_the_same_table(
    tiny_scaled: Scaled, tmp_path: Path, counted: Counter[str]
) -> None:
    epochs: Counter[str] = Counter()

    def noting(task: str, done: int, total: int, text: str) -> None:
        epochs[task.split(": ")[1] + (" end" if done == total else "")] += 1

    whole = do(tiny_scaled, tmp_path / "whole", progress=noting)
    # two dense networks; three compressions; four cells, one of them measured as network and as engine, twice
    assert (counted["compress_dense"], counted["finish"], counted["measure_file"]) == (3, 4, 6)
    assert epochs["train end"] == 2
    assert len(list((tmp_path / "whole" / "trained").glob("*.json"))) == 2
    counted.clear()
    assert accuracies(do(tiny_scaled, tmp_path / "whole")) == accuracies(whole)
    assert counted == Counter()

    def stop(task: str, done: int, total: int, text: str) -> None:
        if task.startswith("clean-pruned-clean") and task.endswith("fine-tune"):
            raise Stop

    with pytest.raises(Stop):
        do(tiny_scaled, tmp_path / "killed", progress=stop)
    assert counted["finish"] == 2
    epochs.clear()
    assert accuracies(do(tiny_scaled, tmp_path / "killed", progress=noting)) == accuracies(whole)
    assert epochs["train end"] == 0  # trained before it was killed
    assert counted["finish"] == 5  # one twice


def test_what_is_measured_are_the_networks_that_were_made(tiny_scaled: Scaled, tmp_path: Path) -> None:
    cells = [cell for cell in tiny_scaled.study.cells if cell.key == "clean-pruned-clean"]
    (run,) = do(tiny_scaled, tmp_path, cells=cells)
    assert set(run.measured) == {("network", "pgd-20"), ("engine", "pgd-20")}
    assert run.made["dense"]["cpu_seconds"] > 0
    assert run.made["cpu_seconds"]["finetune"] > 0
    assert run.made["dense"]["parameters"] > 2 * run.made["parameters"]
    assert run.made["images"] == 100
    assert set(run.graphs.values()) == set((tmp_path / "cells").glob("*.onnx"))
    graphs = {subject: onnx.load(str(path)) for subject, path in run.graphs.items()}
    assert bool(Twin(graphs["engine"]).quantizers) > bool(Twin(graphs["network"]).quantizers)
