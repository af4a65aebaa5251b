from __future__ import annotations

from typing import Any

import pytest

from hardtemper.bench.data.load import load_dataset
from hardtemper.runtime.errors import DataError, HardtemperError, RecipeError
from hardtemper.toolchain.models.source import load_source
from hardtemper.toolchain.pipeline.first_checks import check_stages, check_steps_of_training
from hardtemper.toolchain.recipe.read import with_overrides


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train.batch_size": 1000}, DataError, "train.batch_size: too few training images"),
        ({"finetune_twin.batch_size": 65}, DataError, "finetune_twin.batch_size"),  # of 64 images
        ({"finetune.shift": 16}, RecipeError, "finetune.shift leaves nothing"),
        ({"train.cutout": 16}, RecipeError, "train.cutout leaves nothing"),
    ],
)
def test_stages_against_the_data(
    settings: dict[str, Any], changes: dict[str, Any], error: type[HardtemperError], message: str
) -> None:
    data = load_dataset(settings["data"]["name"], heldout=64, calibration=32)
    check_stages(with_overrides(settings, {}), data)
    with pytest.raises(error, match=message):
        check_stages(with_overrides(settings, changes), data)


def test_an_exported_program_is_not_trained(settings: dict[str, Any]) -> None:
    recipe = with_overrides(settings, {})
    source = load_source(recipe.model, input_shape=(1, 16, 16), classes=("a", "b"), seed=0)
    check_steps_of_training(recipe, source)
    exported = with_overrides(settings, {"model.name": "net.pt2"})
    with pytest.raises(RecipeError, match="an exported program is only lowered"):
        check_steps_of_training(exported, source)
