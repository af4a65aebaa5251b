"""A cell of a study as a recipe: what `toolchain build` would do for it.

The study's recipe, its settings shrunk to the scale; then the compression's keys; then what is trained against what.
Fine-tuning is of the float network or of the twin, never both, so the other one has no epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from ...runtime.errors import RecipeError
from ..recipe.read import with_overrides
from ..recipe.recipe import Recipe
from .study_file import Study, StudyCell

__all__ = ["Scaled"]

_Full = TypeVar("_Full")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaled:
    """A study at a scale.

    Attributes:
        study: the study.
        scale: 1 is the paper's full setting; the work of training is about in proportion.
        changes: keys of a recipe, dotted, that are set last.

    Raises:
        RecipeError: a scale out of range.
    """

    study: Study
    scale: float = 1.0
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise RecipeError("scale", expected="above 0, at most 1 (the paper's setting)", got=str(self.scale))

    @property
    def train_images(self) -> int:
        """Training images, at most."""
        return self._at("train_images", self.study.train_images)

    @property
    def test_images(self) -> int:
        """Test images that are attacked, at most."""
        return self._at("test_images", self.study.test_images)

    def recipe(self, cell: StudyCell, seed: int) -> Recipe:
        """The build of a cell.

        Raises:
            RecipeError: a key or value does not fit.
        """
        compression = self.study.compressions[cell.compression]
        tuned, other = (
            ("finetune", "finetune_twin") if compression.tunes == "network" else ("finetune_twin", "finetune")
        )
        against: dict[str, Any] = {"train.against": cell.training, f"{other}.epochs": 0}
        if cell.finetuning == "none":
            against[f"{tuned}.epochs"] = 0
        else:
            against[f"{tuned}.against"] = cell.finetuning
        robust = "adversary" in (cell.training, cell.finetuning)
        overrides: dict[str, Any] = {
            "name": cell.key,
            "seed": seed,
            "robust": robust,
            **self.sized(cell.network),
            **compression.recipe,
        }
        if "compress" in compression.recipe:
            overrides["compress"] = [self._step(step) for step in compression.recipe["compress"]]
        return with_overrides(self.study.recipe, {**overrides, **self.changes, **against})

    def compression_recipe(self, cell: StudyCell, seed: int) -> Recipe:
        """The recipe of the cell's compression, the same for every fine-tuning behind it.

        A compression that trains is trained against what the dense network was.
        """
        return self.recipe(cell.model_copy(update={"finetuning": cell.training}), seed)

    def sized(self, network: str | None) -> dict[str, Any]:
        """The network's keys of the recipe, and those of sections that follow the scale, with their values."""
        own = self.study.networks.get(network or "")
        found = {} if own is None else dict(own.recipe)
        for dotted, lever in (self.study.scale | ({} if own is None else own.scale)).items():
            section, _, key = dotted.partition(".")
            settings = self.study.recipe.get(section)
            full = found.get(dotted, settings.get(key) if isinstance(settings, dict) else None)
            if full is not None:  # a study on another one may have another network
                found[dotted] = lever.at(full, self.scale)
        return found

    def _step(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """A step of a compression, with what follows the scale."""
        return {key: self._at(f"compress.{step['method']}.{key}", value) for key, value in step.items()}

    def _at(self, key: str, full: _Full) -> _Full | int:
        lever = self.study.scale.get(key)
        return full if lever is None else lever.at(cast(int, full), self.scale)
