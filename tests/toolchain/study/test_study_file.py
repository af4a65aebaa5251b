"""Parts of a study's file; reading whole ones is tested in `test_read_study.py`."""

from __future__ import annotations

import pytest

from hardtemper.toolchain.study.study_file import Lever, Study, StudyCell


@pytest.mark.parametrize(
    ("full", "scale", "value"), [(100, 1.0, 100), (100, 0.25, 50), (100, 0.0001, 4), (3, 0.5, 3), (3, 0.25, 3)]
)
def test_a_lever(full: int, scale: float, value: int) -> None:
    assert Lever(power=0.5, least=4).at(full, scale) == value  # never above the full value


@pytest.mark.parametrize(
    ("training", "compression", "finetuning", "label"),
    [
        ("clean", "none", "none", "f_st"),
        ("adversary", "pruned", "none", "f_rb^p"),
        ("clean", "pruned", "clean", "T_st(f_st^p)"),
        ("adversary", "quantized", "adversary", "T_ad(f_rb^q)"),
    ],
)
def test_cells_have_the_papers_names(
    training: str, compression: str, finetuning: str, label: str, tiny_study: Study
) -> None:
    cell = StudyCell.model_validate({"training": training, "compression": compression, "finetuning": finetuning})
    assert tiny_study.label(cell) == label
    assert tiny_study.label(cell.model_copy(update={"name": "mine"})) == "mine"
