"""What can be known of a recipe's stages before any of them runs."""

from __future__ import annotations

from ...bench.data.dataset import Dataset
from ...runtime.errors import DataError, RecipeError
from ..models.first_run import check_training
from ..models.source import Source
from ..recipe.recipe import Recipe
from ..recipe.training import Training

__all__ = ["check_stages", "check_training_steps"]


def check_stages(recipe: Recipe, data: Dataset) -> None:
    """Check every stage against the data now, before hours of training.

    Raises:
        DataError, RecipeError: a stage has too few images for one batch, or its augmentation leaves nothing of them.
    """
    count, side = len(data.train), min(data.input_shape[1:])
    stages: list[tuple[str, Training, int]] = [
        ("train", recipe.train, count),
        ("finetune", recipe.finetune, count),
        ("finetune_twin", recipe.finetune_twin, min(recipe.finetune_twin.images or count, count)),
    ]
    if recipe.trains_teacher:
        stages.append(("teacher", recipe.teacher, count))
    for key, settings, images in stages[1 if recipe.has_weights else 0 :]:
        if settings.epochs and images < settings.batch_size:
            raise DataError(
                f"{key}.batch_size: too few training images for one batch",
                expected=f"at least {settings.batch_size}",
                got=str(images),
                fix=f"a smaller {key}.batch_size, or fewer held-out and calibration images",
            )
        for name, pixels in (("shift", settings.shift), ("cutout", settings.cutout)):
            if settings.epochs and pixels >= side:
                raise RecipeError(
                    f"{key}.{name} leaves nothing of some images", expected=f"less than {side} pixels", got=str(pixels)
                )


def check_training_steps(recipe: Recipe, source: Source) -> None:
    """One step of the stages that train the module itself, on a copy: code that training alone runs may fail too.

    Raises:
        RecipeError: an exported program, which cannot be trained, is to be.
        ModelError: the step fails.
    """
    changing = [step.method for step in recipe.network_steps if step.changes_network]
    if recipe.model.name.endswith(".pt2") and (recipe.finetune.epochs or changing):
        raise RecipeError(
            f"{recipe.model.name}: an exported program is only lowered, quantized and attacked",
            expected="no compression and finetune.epochs 0",
            got=f"compression: {', '.join(changing) or 'none'}; {recipe.finetune.epochs} epochs",
            fix="--set compress=[] --epochs 0 --standard, or give package.module:factory and a checkpoint",
        )
    stages = [recipe.finetune] if recipe.has_weights else [recipe.train, recipe.finetune]
    batches = [stage.batch_size for stage in stages if stage.epochs]
    if batches:
        check_training(source.module, source.name, source.input_shape, images=min(2, *batches))
