"""What a recipe says of its images reaches the loader, every key of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardtemper.toolchain.pipeline.recipe_data import recipe_data
from hardtemper.toolchain.recipe.read import with_overrides


def test_every_part_is_as_the_recipe_says(npz: Path) -> None:
    settings = {"data": {"name": str(npz), "heldout": 64, "calibration": 32, "image_size": 8}}
    first, other = (recipe_data(with_overrides(settings, {"seed": seed})) for seed in (0, 1))
    assert (len(first.heldout), len(first.calibration), first.input_shape) == (64, 32, (1, 8, 8))
    assert not np.array_equal(first.heldout.indices, other.heldout.indices)
    again = recipe_data(with_overrides(settings, {}))
    assert np.array_equal(first.heldout.images, again.heldout.images)
