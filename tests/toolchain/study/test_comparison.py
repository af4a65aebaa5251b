"""Means, spreads and differences, computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from hardtemper.toolchain.study.comparison import columns, compare
from hardtemper.toolchain.study.measure_cell import Measure
from hardtemper.toolchain.study.read_study import parse_study
from hardtemper.toolchain.study.study_file import Study, StudyCell
from hardtemper.toolchain.study.study_stages import CellRun

PAPER = [Measure(attack="pgd-20", images=100)]
BOTH = [*PAPER, Measure(attack="standard", images=50)]


def run(study: Study, cell: StudyCell, seed: int, clean: float, robust: float, *, train: float, tune: float) -> CellRun:
    measured: dict[tuple[Any, str], dict[str, Any]] = {}
    for place, subject in enumerate(study.compressions[cell.compression].measured):
        for measure, less in zip(BOTH, (0.0, 10.0), strict=True):
            row = {"clean": {"value": clean + place}, "robust": {"value": robust - less}, "KiB": 512.0}
            measured[subject, measure.attack] = row
    made = {
        "dense": {"cpu_seconds": train},
        "cpu_seconds": {"compress": 0.0, "finetune": tune},
        "parameters": 1000,
        "MACs": 2000,
        "dense_size_bits": 4 * 2**23,
        "size_bits": dict.fromkeys(study.compressions[cell.compression].measured, (1 + seed) * 2**23),
    }
    return CellRun(cell=cell, seed=seed, made=made, measured=measured, graphs={})


def of(study: Study, key: str) -> StudyCell:
    return next(cell for cell in study.cells if cell.key == key)


def test_means_spreads_and_differences_by_hand(tiny_study: Study) -> None:
    cell = of(tiny_study, "clean-pruned-none")  # the paper: 50 +- 2
    runs = [run(tiny_study, cell, seed, clean, 30.0, train=5, tune=0) for seed, clean in ((0, 55.0), (1, 57.0))]
    network, engine = compare(tiny_study, runs, PAPER, with_paper=True)
    assert list(network) == columns(PAPER)
    assert (network["model"], network["subject"], network["seeds"]) == ("f_st^p", "network", 2)
    assert (network["test_mean"], network["test_spread"]) == (56.0, 1.41)  # sqrt(2)
    assert (network["test_paper"], network["test_paper_deviation"]) == (50.0, 2.0)
    assert (network["test_difference"], network["test_in_deviations"]) == (6.0, 3.0)
    assert network["robustness_paper"] is network["robustness_difference"] is None
    assert network["finetune_cpu_seconds"] is network["times_cheaper"] is None
    assert (network["size_mean"], network["size_share"], network["file_mean"]) == (1.5, 0.375, 0.5)  # 1 and 2 of 4 MiB
    assert (engine["subject"], engine["test_mean"], engine["test_paper"]) == ("engine", 57.0, None)


def test_a_paper_without_deviations_has_a_difference_in_points(tiny_study: Study) -> None:
    cell = of(tiny_study, "clean-quantized-adversary")  # the paper: robustness 40
    (row,) = compare(tiny_study, [run(tiny_study, cell, 0, 80, 36.5, train=5, tune=2)], PAPER, with_paper=True)
    assert (row["robustness_difference"], row["robustness_in_deviations"]) == (-3.5, None)
    assert (row["test_spread"], row["robustness_spread"]) == (None, None)  # of one seed


def test_how_many_times_cheaper_than_adversarial_training(tiny_study: Study) -> None:
    tuned, dense = of(tiny_study, "clean-quantized-adversary"), of(tiny_study, "adversary-none-none")
    runs = [run(tiny_study, tuned, seed, 80, 60, train=10, tune=tune) for seed, tune in ((0, 5.0), (1, 10.0))]
    runs += [run(tiny_study, dense, seed, 80, 70, train=100, tune=0) for seed in (0, 1)]
    row, robust = compare(tiny_study, runs, PAPER, with_paper=True)
    assert row["times_cheaper"] == 15.0  # (100 / 5 + 100 / 10) / 2
    assert row["finetune_cpu_seconds"] == 7.5
    assert (robust["times_cheaper"], robust["train_cpu_seconds"]) == (None, 100.0)
    (alone,) = compare(tiny_study, runs[:2], PAPER, with_paper=True)
    assert alone["times_cheaper"] is None  # nothing was trained against the adversary


def test_other_data_have_no_papers_values(tiny_study: Study) -> None:
    runs = [run(tiny_study, tiny_study.cells[0], 0, 55, 30, train=5, tune=0)]
    for row in compare(tiny_study, runs, PAPER, with_paper=False):
        assert [row[key] for key in row if "paper" in key or "difference" in key] == [None] * 7


def test_further_attacks_stand_beside(tiny_study: Study) -> None:
    cell = of(tiny_study, "clean-quantized-adversary")
    runs = [run(tiny_study, cell, seed, 80, robust, train=5, tune=1) for seed, robust in ((0, 60.0), (1, 64.0))]
    (row,) = compare(tiny_study, runs, BOTH, with_paper=True)
    assert list(row) == columns(BOTH)
    assert (row["robustness_mean"], row["standard_mean"]) == (62.0, 52.0)
    assert row["standard_spread"] == pytest.approx(2.83)


def test_each_network_is_compared_with_its_own_training(tiny_settings: dict[str, Any]) -> None:
    tiny_settings["networks"] = {name: {"label": name.upper(), "recipe": {}} for name in ("a", "b")}
    tiny_settings["cells"] = [
        {"network": name, "training": training, "compression": "none", "finetuning": finetuning}
        for name in ("a", "b")
        for training, finetuning in (("clean", "adversary"), ("adversary", "none"))
    ]
    study = parse_study("tiny", tiny_settings)
    costs = (100.0, 100.0, 300.0, 300.0)
    runs = [run(study, cell, 0, 80, 60, train=train, tune=10) for cell, train in zip(study.cells, costs, strict=True)]
    rows = compare(study, runs, PAPER, with_paper=False)
    assert [(row["network"], row["times_cheaper"]) for row in rows] == [("A", 10), ("A", None), ("B", 30), ("B", None)]
