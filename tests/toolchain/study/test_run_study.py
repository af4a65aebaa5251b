from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.errors import BundleError, DataError, RecipeError
from hardtemper.toolchain.study.cell_recipe import Scaled
from hardtemper.toolchain.study.measure_cell import Measure
from hardtemper.toolchain.study.read_study import load_study, parse_study
from hardtemper.toolchain.study.run_study import run_study, select


@pytest.mark.parametrize(
    ("patterns", "count"),
    [((), 12), (("clean-*",), 6), (("clean-pruned-none", "*-quantized-*"), 7), (("*-adversary",), 4)],
)
def test_some_cells(patterns: tuple[str, ...], count: int) -> None:
    cells = load_study("table3").cells
    found = select(cells, patterns)
    assert len(found) == count
    assert [cell for cell in cells if cell in found] == list(found)


def test_a_pattern_that_fits_no_cell() -> None:
    with pytest.raises(RecipeError, match="no cell 'f_st' in this study; expected: clean-pruned-none"):
        select(load_study("table3").cells, ["f_st"])


def test_a_folder_that_cannot_be_written(tiny_scaled: Scaled, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="choose another --out"):
        run_study(
            tiny_scaled,
            cells=tiny_scaled.study.cells,
            seeds=(0,),
            measures=[Measure(attack="pgd-20", images=8)],
            out=tmp_path / "file",
        )


def test_settings_that_do_not_fit_are_found_before_any_training(tiny_settings: Any, tmp_path: Path) -> None:
    scaled = Scaled(study=parse_study("tiny", tiny_settings), changes={"finetune.batch_size": 1000})
    cells = scaled.study.cells
    with pytest.raises(DataError, match=r"finetune\.batch_size: too few training images"):
        run_study(scaled, cells=cells, seeds=(0,), measures=[Measure(attack="pgd-20", images=8)], out=tmp_path)
    assert not (tmp_path / "trained").exists()
