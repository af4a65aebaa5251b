from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from hardtemper.toolchain.study.draw import draw
from hardtemper.toolchain.study.read_study import parse_study
from hardtemper.toolchain.study.study_file import Study


def rows(study: Study) -> list[dict[str, Any]]:
    return [
        {
            "network": None,
            "model": study.label(cell),
            "compression": study.compressions[cell.compression].label,
            "level": study.compressions[cell.compression].level,
            "training": cell.training,
            "subject": subject,
            "test_mean": 80.0 + number,
            "test_spread": 1.0,
            "test_paper": 79.0,
            "test_paper_deviation": 2.0,
            "robustness_mean": 10.0,
            "robustness_spread": None,
            "robustness_paper": None,
            "robustness_paper_deviation": None,
        }
        for number, cell in enumerate(study.cells)
        for subject in study.compressions[cell.compression].measured
    ]


def texts(path: Path) -> set[str]:
    return {"".join(element.itertext()).strip() for element in ET.parse(path).iter() if element.tag.endswith("text")}


def test_cells_side_by_side(tiny_study: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = draw(tmp_path / "a", tiny_study, rows(tiny_study))
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    shown = texts(files["svg"])
    assert {"f_st^p", "T_st(f_st^p)", "T_ad(f_st^q)", "f_rb", "Tiny", "test", "test, paper", "robustness"} <= shown
    assert "robustness, paper" not in shown
    again = draw(tmp_path / "b", tiny_study, rows(tiny_study))
    assert files["svg"].read_bytes() == again["svg"].read_bytes()


def test_over_levels(tiny_settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    study = parse_study("tiny", tiny_settings | {"x_axis": "share removed"})
    shown = texts(draw(tmp_path, study, rows(study))["svg"])
    assert {"share removed", "0.5", "INT8", "f_st: test", "f_rb: robustness"} <= shown
