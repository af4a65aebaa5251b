from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardtemper.toolchain.study.study_data import StudyData


def test_at_most_so_many_images_read_once_a_seed(tiny_scaled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = tiny_scaled.study.cells[0]
    recipes = [tiny_scaled.recipe(cell, seed) for seed in (0, 1)]
    data = StudyData(100)
    first = data.of(recipes[0])
    assert data.of(recipes[0]) is first
    assert (len(first.train), len(first.calibration), len(first.test)) == (100, 32, 64)
    assert len(StudyData(1000).of(recipes[0]).train) == 288
    mark = data.mark(recipes[0])
    second = data.of(recipes[1])
    assert not np.array_equal(first.train.indices, second.train.indices)
    monkeypatch.setattr("hardtemper.toolchain.study.study_data.recipe_data", None)
    assert data.mark(recipes[0]) == mark  # known without reading again
