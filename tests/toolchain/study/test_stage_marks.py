"""A mark changes with what led to a stage, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.study.stage_marks import cell_mark, compression_mark, data_mark, training_mark
from hardtemper.toolchain.study.study_data import StudyData

BASE: dict[str, Any] = {"robust": True, "train": {"against": "clean"}}


def marks(**changes: Any) -> tuple[str, str, str]:
    recipe = with_overrides(BASE, {key.replace("__", "."): value for key, value in changes.items()})
    compressed = compression_mark(recipe, "data")
    return training_mark(recipe, "data"), compressed, cell_mark(recipe, compressed, "data")


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, (True, True, True)),
        ({"name": "another"}, (True, True, True)),
        ({"quantize__weight_bits": 4}, (True, True, False)),
        ({"finetune_twin__epochs": 2}, (True, True, False)),
        ({"compress": []}, (True, False, False)),
        ({"compress__filters__sparsity": 0.1}, (True, False, False)),
        ({"adversary__steps": 3}, (True, False, False)),
        ({"train__against": "adversary"}, (False, False, False)),
        ({"train__epochs": 3}, (False, False, False)),
        ({"model__width": 8}, (False, False, False)),
        ({"seed": 1}, (False, False, False)),
    ],
    ids=str,
)
def test_what_a_stage_hangs_on(changes: dict[str, Any], same: tuple[bool, ...]) -> None:
    assert tuple(a == b for a, b in zip(marks(), marks(**changes), strict=True)) == same


def test_adversarial_training_hangs_on_the_adversary() -> None:
    assert marks(train__against="adversary")[0] != marks(train__against="adversary", adversary__steps=3)[0]


def test_without_a_step_fine_tuning_is_not_part_of_compression() -> None:
    assert marks(compress=[])[1] == marks(compress=[], finetune__epochs=5)[1]


def test_the_images_count(tiny_scaled: Any) -> None:
    recipe = tiny_scaled.recipe(tiny_scaled.study.cells[0], 0)
    found = {data_mark(StudyData(images).of(recipe)) for images in (100, 100, 90)}
    assert len(found) == 2
    assert training_mark(recipe, "a") != training_mark(recipe, "b")
