"""The images of a study: a recipe's data set with at most so many training images, read once a seed."""

from __future__ import annotations

import dataclasses

from ...bench.data.dataset import Dataset
from ..pipeline.recipe_data import recipe_data
from ..recipe.recipe import Recipe
from .stage_marks import data_mark

__all__ = ["StudyData"]


class StudyData:
    """Data sets by what a recipe says of them.

    Args:
        images: training images, at most; drawn with the recipe's seed.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._found: dict[str, Dataset] = {}
        self._marks: dict[str, str] = {}

    def of(self, recipe: Recipe) -> Dataset:
        """The data set.

        Raises:
            DataError: see `recipe_data`.
        """
        key = _key(recipe)
        if key not in self._found:
            self._found.clear()  # one at a time: seeds come one after the other
            data = recipe_data(recipe)
            self._found[key] = dataclasses.replace(data, train=data.train.at_most(self._images, seed=recipe.seed))
        return self._found[key]

    def mark(self, recipe: Recipe) -> str:
        """Its `data_mark`."""
        key = _key(recipe)
        if key not in self._marks:
            self._marks[key] = data_mark(self.of(recipe))
        return self._marks[key]


def _key(recipe: Recipe) -> str:
    return f"{recipe.seed} {recipe.data.model_dump_json()}"
