"""The adversary of fine-tuning: how it is written, and what a teacher is trained against."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe


def test_the_threat_is_written_one_way() -> None:
    assert with_overrides({}, {"adversary.threat": " linf: 8/255"}).adversary.threat == "linf:8/255"


@pytest.mark.parametrize("threat", ["linf:8", "linf", "lp:0.1", "linf:one", "linf:-0.1"])
def test_a_threat_that_cannot_be(threat: str) -> None:
    with pytest.raises(RecipeError, match="threat model"):
        with_overrides({}, {"adversary.threat": threat})


def test_a_teachers_adversary_is_the_students_without_the_distillation() -> None:
    attack = {"threat": "l2:0.5", "attack": "fgsm", "random_start": False, "grad_align": 0.2, "training_epsilon": 0.6}
    distilling = Adversary(**attack, objective="ard", weight=0.5, temperature=4.0, teacher=Path("teacher"))
    assert distilling.plain == Adversary(**attack)
    assert distilling.plain.plain == distilling.plain
    assert Recipe(robust=True, adversary=Adversary(objective="ard")).trains_teacher
    assert not Recipe(robust=True, adversary=distilling).trains_teacher
    assert not Recipe(robust=True).trains_teacher
    assert not Recipe(adversary=Adversary(objective="ard")).trains_teacher
