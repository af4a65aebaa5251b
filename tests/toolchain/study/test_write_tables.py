"""The three forms of a table agree, value for value."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from hardtemper.toolchain.study.comparison import columns
from hardtemper.toolchain.study.measure_cell import Measure
from hardtemper.toolchain.study.study_file import Study
from hardtemper.toolchain.study.write_tables import write_tables

MEASURES = [Measure(attack="pgd-20", images=100), Measure(attack="standard", images=50)]


def row(**values: Any) -> dict[str, Any]:
    plain = {"model": "f_st^p", "compression": "half of the filters", "subject": "network", "seeds": 2}
    plain |= {"test_mean": 50.0, "robustness_mean": 1.25, "standard_mean": 0.5, "parameters": 10, "MACs": 20}
    plain |= {"size_mean": 1.5, "size_share": 0.25, "file_mean": 2.0}
    return dict.fromkeys(columns(MEASURES)) | plain | values


ROWS = [
    row(test_paper=46.0, test_paper_deviation=2.0, test_difference=4.0, test_in_deviations=2.0, test_spread=0.5),
    row(test_paper=45.0, test_paper_deviation=2.0, test_difference=5.0, test_in_deviations=2.5),
    row(
        subject="engine", finetune_cpu_seconds=3.5, times_cheaper=8.0, robustness_paper=2.0, robustness_difference=-0.75
    ),
]


def test_markdown_csv_and_json_agree(tiny_study: Study, tmp_path: Path) -> None:
    files = write_tables(tmp_path, tiny_study, ROWS, MEASURES, {"scale": 0.5, "said": ["A word."]})
    stored = json.loads(files["json"].read_text())
    assert stored["rows"] == ROWS
    assert (stored["study"], stored["scale"], stored["departures"]) == ("tiny", 0.5, ["Everything is small."])
    with files["csv"].open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [{key: "" if value is None else str(value) for key, value in one.items()} for one in ROWS] == found
    text = files["md"].read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    head, _, *shown = lines
    assert head[:5] == ["model", "compression", "measured", "test", "paper"]
    for one, cells in zip(ROWS, shown, strict=True):
        assert cells[0] == f"`{one['model']}`"
        for place, metric in ((3, "test"), (6, "robustness")):
            assert cells[place].split(" ± ")[0] == f"{one[f'{metric}_mean']:.2f}"
            paper = one[f"{metric}_paper"]
            assert cells[place + 1].split(" ± ")[0] == ("" if paper is None else f"{paper:.2f}")
        assert cells[9] == "0.50"  # standard
    assert "* A word." in text
    assert "* Everything is small." in text


def test_more_than_two_deviations_are_marked(tiny_study: Study, tmp_path: Path) -> None:
    text = write_tables(tmp_path, tiny_study, ROWS, MEASURES, {})["md"].read_text()
    assert "| 50.00 ± 0.50 | 46.00 ± 2.00 | +4.00 (+2.00) |" in text
    assert "| **+5.00 (+2.50)** |" in text
    assert "| 2.00 | -0.75 |" in text
    assert "| 3.50 | 8.00 |" in text


def test_a_papers_other_data_have_no_difference_and_sizes_stand_beside(tiny_study: Study, tmp_path: Path) -> None:
    study = tiny_study.model_copy(update={"paper_data": "ImageNet", "sizes": True})
    text = write_tables(tmp_path, study, [row(test_paper=46.0, size_paper=534.3)], MEASURES, {})["md"].read_text()
    head = "| test | paper (ImageNet) | pgd-20 | paper (ImageNet) | standard | size, MiB | paper (ImageNet) | size, %"
    assert head in text
    assert "| 50.00 | 46.00 | 1.25 |  | 0.50 | 1.5 | 534.3 | 25 | 2 |" in text
    assert "Differences" not in text
