"""What cannot be trained is found before training; `test_pipeline.py` has the messages of whole builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardtemper.bench.data.load import load_dataset
from hardtemper.runtime.errors import DataError, RecipeError
from hardtemper.toolchain.pipeline.before_training import check_stages
from hardtemper.toolchain.recipe.read import with_overrides


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"finetune.batch_size": 1000}, DataError, "finetune.batch_size: too few training images for one batch"),
        ({"finetune_twin.images": 8}, DataError, "finetune_twin.batch_size: too few training images"),
        ({"train.shift": 16}, RecipeError, "train.shift leaves nothing of some images"),
        ({"finetune.cutout": 40}, RecipeError, "finetune.cutout leaves nothing of some images"),
    ],
)
def test_stages_that_do_not_fit_the_data(
    overrides: dict[str, Any], error: type[Exception], message: str, settings: dict[str, Any], npz: Path
) -> None:
    data = load_dataset(str(npz), heldout=64, calibration=32)
    check_stages(with_overrides(settings, {}), data)
    with pytest.raises(error, match=message):
        check_stages(with_overrides(settings, overrides), data)
