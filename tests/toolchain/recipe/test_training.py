"""The training sections: each keeps its own defaults, and survives JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.training import Training


def test_a_section_given_in_part_keeps_its_own_defaults() -> None:
    recipe = with_overrides({"finetune": {"momentum": 0.9}}, {"train.momentum": 0.5})
    assert (recipe.finetune.epochs, recipe.finetune.schedule, recipe.finetune.momentum) == (3, "constant", 0.9)
    assert (recipe.train.epochs, recipe.train.schedule, recipe.train.momentum) == (20, "paper", 0.5)


@given(
    epochs=st.integers(0, 10**6),
    learning_rate=st.floats(1e-12, 1e6),
    momentum=st.floats(0, 1, exclude_max=True),
    flip=st.booleans(),
    schedule=st.sampled_from(["paper", "constant", "cosine", "one-cycle"]),
)
def test_any_valid_training_survives_json(**values: Any) -> None:
    recipe = with_overrides({}, {f"train.{key}": value for key, value in values.items()})
    assert recipe.train == Training(**values)
    assert with_overrides(json.loads(recipe.model_dump_json()), {}) == recipe
