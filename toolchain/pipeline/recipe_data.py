"""The images that a recipe names."""

from __future__ import annotations

from ...bench.data.dataset import Dataset
from ...bench.data.load import load_dataset
from ..recipe.recipe import Recipe

__all__ = ["recipe_data"]


def recipe_data(recipe: Recipe) -> Dataset:
    """The data set of the recipe's section `data`, divided by the recipe's seed.

    Raises:
        DataError: see `load_dataset`.
    """
    settings = recipe.data
    return load_dataset(
        settings.name,
        root=settings.root,
        heldout=settings.heldout,
        calibration=settings.calibration,
        seed=recipe.seed,
        image_size=settings.image_size,
        download=settings.download,
        class_order=settings.class_order,
    )
